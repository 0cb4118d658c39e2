/** ONNX op type → importer. Types of other domains than the default are `domain::Type`. */
import type { OnnxImporter } from '../node.js';
import { activations } from './activations.js';
import { AffineGrid } from './AffineGrid.js';
import { ArgMax, ArgMin } from './ArgMax.js';
import { Attention } from './Attention.js';
import { BatchNormalization } from './BatchNormalization.js';
import { binary } from './binary.js';
import { BitShift } from './BitShift.js';
import { Cast } from './Cast.js';
import { CastLike } from './CastLike.js';
import { CenterCropPad } from './CenterCropPad.js';
import { Clip } from './Clip.js';
import { Col2Im } from './Col2Im.js';
import { Compress } from './Compress.js';
import { Concat } from './Concat.js';
import { Constant } from './Constant.js';
import { ConstantOfShape } from './ConstantOfShape.js';
import { Conv } from './Conv.js';
import { ConvInteger } from './ConvInteger.js';
import { ConvTranspose } from './ConvTranspose.js';
import { cosineWindows } from './cosine-windows.js';
import { CumProd } from './CumProd.js';
import { CumSum } from './CumSum.js';
import { DepthToSpace } from './DepthToSpace.js';
import { DequantizeLinear } from './DequantizeLinear.js';
import { DFT } from './DFT.js';
import { Dropout } from './Dropout.js';
import { DynamicQuantizeLinear } from './DynamicQuantizeLinear.js';
import { Einsum } from './Einsum.js';
import { Expand } from './Expand.js';
import { EyeLike } from './EyeLike.js';
import { Flatten } from './Flatten.js';
import { gathers } from './gather.js';
import { Gemm } from './Gemm.js';
import { GridSample } from './GridSample.js';
import { GroupNormalization } from './GroupNormalization.js';
import { Hardmax } from './Hardmax.js';
import { Identity } from './Identity.js';
import { If } from './If.js';
import { InstanceNormalization } from './InstanceNormalization.js';
import { IsInf } from './IsInf.js';
import { LayerNormalization } from './LayerNormalization.js';
import { Loop } from './Loop.js';
import { LpNormalization } from './LpNormalization.js';
import { LRN } from './LRN.js';
import { MatMul } from './MatMul.js';
import { MatMulInteger } from './MatMulInteger.js';
import { Mean } from './Mean.js';
import { MeanVarianceNormalization } from './MeanVarianceNormalization.js';
import { Mod } from './Mod.js';
import { NegativeLogLikelihoodLoss } from './NegativeLogLikelihoodLoss.js';
import { NonZero } from './NonZero.js';
import { OneHot } from './OneHot.js';
import { Pad } from './Pad.js';
import { pools } from './pools.js';
import { Pow } from './Pow.js';
import { QLinearConv } from './QLinearConv.js';
import { QLinearMatMul } from './QLinearMatMul.js';
import { QuantizeLinear } from './QuantizeLinear.js';
import { Range } from './Range.js';
import { Reciprocal } from './Reciprocal.js';
import { recurrents } from './recurrent.js';
import { reductions } from './reductions.js';
import { Reshape } from './Reshape.js';
import { Resize } from './Resize.js';
import { ReverseSequence } from './ReverseSequence.js';
import { RMSNormalization } from './RMSNormalization.js';
import { RotaryEmbedding } from './RotaryEmbedding.js';
import { Scan } from './Scan.js';
import { Shape, Size } from './Shape.js';
import { Slice } from './Slice.js';
import { LogSoftmax, Softmax } from './Softmax.js';
import { SoftmaxCrossEntropyLoss } from './SoftmaxCrossEntropyLoss.js';
import { SpaceToDepth } from './SpaceToDepth.js';
import { Split } from './Split.js';
import { Squeeze } from './Squeeze.js';
import { STFT } from './STFT.js';
import { Tile } from './Tile.js';
import { TopK } from './TopK.js';
import { Transpose } from './Transpose.js';
import { Trilu } from './Trilu.js';
import { unary } from './unary.js';
import { Unsqueeze } from './Unsqueeze.js';
import { Upsample } from './Upsample.js';
import { Where } from './Where.js';

export const IMPORTERS: ReadonlyMap<string, OnnxImporter> = new Map(Object.entries({
  ...unary, ...binary, ...activations, ...reductions, ...gathers, ...pools, ...recurrents, ...cosineWindows,
  AffineGrid, ArgMax, ArgMin, Attention, BatchNormalization, BitShift, Cast, CastLike, CenterCropPad, Clip, Col2Im, Compress, Concat,
  Constant, ConstantOfShape, Conv, ConvInteger, ConvTranspose, CumProd, CumSum, DFT, DepthToSpace, DequantizeLinear, Dropout,
  DynamicQuantizeLinear, Einsum, Expand, EyeLike, Flatten, Gemm, GridSample, GroupNormalization, Hardmax, Identity, If,
  InstanceNormalization, IsInf, LRN, LayerNormalization, LogSoftmax, Loop, LpNormalization, MatMul, MatMulInteger, Mean,
  MeanVarianceNormalization, Mod, NegativeLogLikelihoodLoss, NonZero, OneHot, Pad, Pow, QLinearConv, QLinearMatMul, QuantizeLinear,
  RMSNormalization, Range, Reciprocal, Reshape, Resize, ReverseSequence, RotaryEmbedding, STFT, Scan, Shape, Size, Slice, Softmax,
  SoftmaxCrossEntropyLoss, SpaceToDepth, Split, Squeeze, Tile, TopK, Transpose, Trilu, Unsqueeze, Upsample, Where,
  SimplifiedLayerNormalization: RMSNormalization, 'com.microsoft::SimplifiedLayerNormalization': RMSNormalization,
}));
