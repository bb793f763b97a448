// Experiments and figures in words, the same everywhere on the page.

export const ARMS = ["without_batch_norm", "with_batch_norm"];
export const ARM_WORDS = { without_batch_norm: "without batch norm", with_batch_norm: "with batch norm" };
export const FINISHED = new Set(["succeeded", "failed", "cancelled"]);

const whole = new Intl.NumberFormat("en");

export const count = (number) => whole.format(number);
export const accuracy = (number) => (number === null || number === undefined ? "–" : number.toFixed(4));
export const percent = (share) => `${(100 * share).toFixed(share >= 0.9995 || share < 0.0005 ? 0 : 1)} %`;
export const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(4)}`;

export const mean = (values) => (values ? accuracy(values.mean) : "–");
export const range = (values) => (values && values.replicates.length > 1 ? `${accuracy(values.min)} … ${accuracy(values.max)}` : "");

// The fields of a spec with their values; those of an object within it are named with a dot.
export function flat(spec) {
  const isObject = (any) => typeof any === "object" && any !== null && !Array.isArray(any);
  return Object.entries(spec).flatMap(([name, any]) => (isObject(any) ? flat(any).map(([part, inner]) => [`${name}.${part}`, inner]) : [[name, any]]));
}

const SIZES = {
  dense: (spec) => spec.hidden_layers.join("-"),
  convolutional: (spec) => `convolutional ${spec.feature_maps.join("-")}`,
  recurrent: (spec) => `LSTM of ${spec.units}`,
};

export function setting(spec) {
  const words = [
    spec.activation,
    `rate ${spec.learning_rate}`,
    `weights ${spec.weight_scale}`,
    `${count(spec.training_batches)} batches of ${spec.batch_size}`,
    SIZES[spec.network](spec),
  ];
  if (spec.replicates > 1) words.push(`${spec.replicates} replicates`);
  return words.join(" · ");
}

export function finals(experiment) {
  const [without, with_] = ARMS.map((name) => experiment.arms[name].final_validation_accuracy);
  if (!without && !with_) return "";
  return `without ${without ? accuracy(without.mean) : "–"}, with ${with_ ? accuracy(with_.mean) : "–"}`;
}

export function value(any) {
  return typeof any === "object" && any !== null ? JSON.stringify(any) : String(any);
}
