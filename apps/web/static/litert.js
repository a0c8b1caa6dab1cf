// A .tflite file in LiteRT.js. Runs in a worker.

/** Open `data` on `threads`: {run(input) -> the output's values}. */
export async function open(data, model, threads) {
  const { loadLiteRt, loadAndCompile, Tensor } = await import("./runtime/index.js");
  const folder = new URL("./runtime/", import.meta.url).href;
  // In a worker the loader takes the worker's own address for its own: it has to be told.
  self.Module = {
    locateFile: (name) => folder + name,
    mainScriptUrlOrBlob: `${folder}litert_wasm_threaded_internal.js`,
    printErr: (line) => /^(INFO|WARNING)/.test(line) || console.warn(line),
  };
  // It would open a graphics device on loading, which nothing here uses, or complain of none.
  Object.defineProperty(self.navigator, "gpu", { value: undefined });
  const { warn } = console;
  console.warn = () => {};
  await loadLiteRt(folder, { threads: threads > 1 }).finally(() => { console.warn = warn; });
  const compiled = await loadAndCompile(data, {
    accelerator: "wasm",
    cpuOptions: { numThreads: threads },
  });
  const { size, layout } = model.input;
  const shape = layout === "NHWC" ? [1, size, size, 3] : [1, 3, size, size];
  return {
    async run(values) {
      const input = new Tensor(values, shape);
      const outputs = await compiled.run(input);
      const result = Float32Array.from(await outputs[0].data());
      input.delete();
      outputs.forEach((output) => output.delete());
      return result;
    },
  };
}
