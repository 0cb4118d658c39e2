import type { Exclusion } from '../exclusions.js';

/** What the importer refuses. The reasons stand in `docs/operators.md`. */
export const IMPORT_EXCLUSIONS: readonly Exclusion[] = [
  { cases: /^(adagrad|adam|momentum|nesterov_momentum)(_multiple)?$/, reason: 'optimisers are not inference' },
  { cases: /^ai_onnx_ml_(array_feature|binarizer|tree)/, reason: 'classical machine learning is out of scope' },
  { cases: /^(ai_onnx_ml_label_encoder|equal_string|regex_full_match|string_|strnormalizer_)/, reason: 'no strings' },
  { cases: /^(tfidfvectorizer|image_decoder|melweightmatrix)/, reason: 'preprocessing outside the network' },
  { cases: /^(sequence_|split_to_sequence|identity_sequence|if_seq|loop13_seq)/, reason: 'no sequences' },
  { cases: /^(optional_|identity_opt|if_opt|loop16_seq_none)/, reason: 'no optional values' },
  { cases: /^(cast|castlike)_.*_to_FLOAT[48]|^quantizelinear_(e4m3fn|e5m2|float4e2m1)$/, reason: 'no 8-bit or 4-bit floating point results' },
  { cases: /^cast_e8m0_FLOAT8E8M0/, reason: 'FLOAT8E8M0 is not read' },
  { cases: /^bernoulli|^training_dropout(_default)?(_mask)?$/, reason: 'no random numbers' },
  { cases: /^(nonmaxsuppression|unique)_/, reason: 'output sizes depend on data' },
  { cases: /^(affine_grid|blackmanwindow|hammingwindow|hannwindow|center_crop_pad|range)_.*expanded$/, reason: 'a shape is computed from an input' },
  { cases: /^not_[234]d$/, reason: 'operator sets below 7' },
  { cases: /^dft_irfft/, reason: 'one-sided inverse' },
  { cases: /^maxpool_with_argmax/, reason: 'indices as second output' },
  { cases: /^scan_sum$/, reason: 'batched form of opset 8' },
  { cases: /^(basic_deform_conv|deform_conv|det|bitcast|roialign|maxunpool|tensorscatter)_?/, reason: 'no importer yet' },
  { cases: /^(causal_conv_with_state|linear_attention|flexattention)(?!.*expanded)/, reason: 'no importer yet' },
];
