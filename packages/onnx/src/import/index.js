import { activations } from './activations.js';
import { AffineGrid } from './AffineGrid.js';
import { ArgMax, ArgMin } from './ArgMax.js';
import { Attention, RotaryEmbedding } from './Attention.js';
import { binary } from './binary.js';
import { BitShift } from './BitShift.js';
import { Cast } from './Cast.js';
import { CastLike } from './CastLike.js';
import { CenterCropPad } from './CenterCropPad.js';
import { Clip } from './Clip.js';
import { Col2Im } from './Col2Im.js';
import { Compress } from './Compress.js';
import { Concat } from './Concat.js';
import { constants } from './constants.js';
import { Conv } from './Conv.js';
import { ConvTranspose } from './ConvTranspose.js';
import { CumProd } from './CumProd.js';
import { CumSum } from './CumSum.js';
import { DepthToSpace, SpaceToDepth } from './depth-space.js';
import { Dropout } from './Dropout.js';
import { Einsum } from './Einsum.js';
import { Expand } from './Expand.js';
import { Flatten } from './Flatten.js';
import { gathers } from './gather.js';
import { Gemm } from './Gemm.js';
import { GridSample } from './GridSample.js';
import { Hardmax } from './Hardmax.js';
import { Identity } from './Identity.js';
import { If } from './If.js';
import { integerLayers } from './integer-layers.js';
import { IsInf } from './IsInf.js';
import { NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss } from './losses.js';
import { MatMul } from './MatMul.js';
import { Mean } from './Mean.js';
import { Mod } from './Mod.js';
import { normalizations } from './normalizations.js';
import { OneHot } from './OneHot.js';
import { Pad } from './Pad.js';
import { pools } from './pools.js';
import { Pow } from './Pow.js';
import { DequantizeLinear, QuantizeLinear } from './QuantizeLinear.js';
import { Reciprocal } from './Reciprocal.js';
import { recurrents } from './recurrent.js';
import { reductions } from './reductions.js';
import { Reshape } from './Reshape.js';
import { Resize, Upsample } from './Resize.js';
import { ReverseSequence } from './ReverseSequence.js';
import { signal } from './signal.js';
import { Slice } from './Slice.js';
import { LogSoftmax, Softmax } from './Softmax.js';
import { Split } from './Split.js';
import { Squeeze } from './Squeeze.js';
import { Tile } from './Tile.js';
import { TopK } from './TopK.js';
import { Transpose } from './Transpose.js';
import { Trilu } from './Trilu.js';
import { unary } from './unary.js';
import { Loop, Scan } from './unrolled.js';
import { Unsqueeze } from './Unsqueeze.js';
import { Where } from './Where.js';
export const IMPORTERS = new Map(Object.entries({
    ...unary, ...binary, ...activations, ...reductions, ...gathers, ...constants, ...normalizations, ...pools, ...recurrents, ...integerLayers, ...signal,
    AffineGrid, ArgMax, ArgMin, Attention, BitShift, Cast, CastLike, CenterCropPad, Clip, Col2Im, Compress, Concat, Conv, ConvTranspose,
    CumProd, CumSum, DepthToSpace, DequantizeLinear, Dropout, Einsum, Expand, Flatten, Gemm, GridSample, Hardmax, Identity, If, IsInf, LogSoftmax, Loop,
    MatMul, Mean, Mod, NegativeLogLikelihoodLoss, OneHot, Pad, Pow, QuantizeLinear, Reciprocal, Reshape, Resize, ReverseSequence,
    RotaryEmbedding, Scan, Slice, Softmax, SoftmaxCrossEntropyLoss, SpaceToDepth, Split, Squeeze, Tile, TopK, Transpose, Trilu, Unsqueeze,
    Upsample, Where,
}));
//# sourceMappingURL=index.js.map