// Runs an .onnx file with ONNX Runtime Web, in a worker.

/** Open the model `data` with `threads`: {run(input) -> values of the output}. */
export async function open(data, model, threads) {
  const { env, InferenceSession, Tensor } = await import("./runtime/ort.wasm.min.mjs");
  env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
  env.wasm.numThreads = threads;
  env.logLevel = "error";
  const session = await InferenceSession.create(data, { executionProviders: ["wasm"] });
  const [input] = session.inputNames;
  const [output] = session.outputNames;
  const { dtype, layout, size } = model.input;
  const shape = layout === "NHWC" ? [1, size, size, 3] : [1, 3, size, size];
  return {
    async run(values) {
      const results = await session.run({ [input]: new Tensor(dtype, values, shape) });
      return Float32Array.from(results[output].data);
    },
  };
}
