// Runs a .tflite file with LiteRT.js, in a worker.

/** Open the model `data` with `threads` on `backend`: {run(input) -> values of the output}. */
export async function open(data, model, threads, backend) {
  const { loadLiteRt, loadAndCompile, Tensor } = await import("./runtime/index.js");
  const folder = new URL("./runtime/", import.meta.url).href;
  const wasm = backend === "wasm";
  // In a worker, the loader would use the worker's address, so its own must be set.
  self.Module = {
    locateFile: (name) => folder + name,
    printErr: (line) => /^(INFO|WARNING)/.test(line) || console.warn(line),
  };
  if (wasm) {
    self.Module.mainScriptUrlOrBlob = `${folder}litert_wasm_threaded_internal.js`;
    // LiteRT.js would open an unused GPU device on loading, or warn that there is none.
    Object.defineProperty(self.navigator, "gpu", { value: undefined });
  }
  const { warn } = console;
  console.warn = () => {};
  const variant = wasm ? { threads: threads > 1 } : { jspi: true };
  await loadLiteRt(folder, variant).finally(() => { console.warn = warn; });
  const compiled = await loadAndCompile(data, {
    accelerator: backend,
    ...(wasm ? { cpuOptions: { numThreads: threads } } : {}),
  });
  if (!wasm && !compiled.isFullyAccelerated) throw new Error("it cannot run every operator");
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
