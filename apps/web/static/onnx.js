// Runs an .onnx file with ONNX Runtime Web, in a worker.

/** Open the model `data` with `threads` on `backend`: {run(input) -> values of the output}. */
export async function open(data, model, threads, backend) {
  const build = backend === "wasm" ? "wasm" : "jspi";
  const { env, InferenceSession, Tensor } = await import(`./runtime/ort.${build}.min.mjs`);
  env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
  env.wasm.numThreads = threads;
  env.logLevel = "error";
  const provider = backend === "webnn" ? { name: "webnn", deviceType: "gpu" } : backend;
  const options = { executionProviders: [provider], logSeverityLevel: 3 };
  const session = await InferenceSession.create(data, options);
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
