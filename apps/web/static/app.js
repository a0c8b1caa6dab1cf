// The page: shows the top predictions for the camera's pictures or for a photo.

import * as camera from "./camera.js";
import { backends, best, open, unsure, valuesOf } from "./engine.js";
import { window as windowOf } from "./preprocess.js";
import { smoother } from "./smoothing.js";

const TOP = 5;
const BACKENDS = { wasm: "CPU (WebAssembly)", webgpu: "GPU (WebGPU)", webnn: "WebNN" };

const $ = (id) => document.getElementById(id);
const video = $("video");
let engine;
let facing = "environment";
let turn = 0; // number of the current picture source; loops of older sources stop

function say(text, over = false) {
  $("message").textContent = text;
  $("welcome").hidden = !text;
  $("welcome").classList.toggle("over", over);
}

function number(id, value) {
  $(id).textContent = Number.isFinite(value) ? value.toFixed(value < 9.95 ? 1 : 0) : "–";
}

function show(values) {
  const list = $("answers");
  const answers = best(values, engine.model, TOP);
  const doubt = unsure(answers, engine.model);
  while (list.children.length < answers.length) {
    const item = list.appendChild(document.createElement("li"));
    const line = item.appendChild(document.createElement("div"));
    line.append(document.createElement("span"), document.createElement("b"));
    item.append(document.createElement("i"));
  }
  while (list.children.length > answers.length) list.lastChild.remove();
  const plain = engine.model.activation === "none";
  answers.forEach(({ label, value }, place) => {
    const item = list.children[place];
    item.querySelector("span").textContent = label; // labels are inserted as text, never as HTML
    item.querySelector("b").textContent = plain ? value.toPrecision(4) : percent(value);
    item.querySelector("i").hidden = plain;
    item.querySelector("i").style.setProperty("--share", value);
  });
  $("nothing").textContent = engine.model.unsure;
  $("nothing").hidden = !doubt;
  list.classList.toggle("unsure", doubt);
}

function percent(share) {
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

/** Give the stage the picture's shape, and mark the network's input window. */
function frameStage(width, height) {
  $("stage").style.setProperty("--shape", `${width} / ${height}`);
  const { left, top, ...seen } = windowOf(width, height, engine.model.preprocess);
  Object.assign($("square").style, {
    left: `${(100 * left) / width}%`,
    top: `${(100 * top) / height}%`,
    width: `${(100 * seen.width) / width}%`,
    height: `${(100 * seen.height) / height}%`,
  });
}

function showing(what) {
  video.hidden = what !== "camera";
  $("photo").hidden = what !== "photo";
  $("square").hidden = what === "nothing";
  $("pause").hidden = what !== "camera";
  $("start").hidden = what === "camera";
  $("start").textContent = what === "photo" ? "Back to the camera" : "Start the camera";
  $("pause").setAttribute("aria-pressed", "false");
}

async function watch() {
  const mine = ++turn;
  try {
    await camera.start(video, facing, 1.25 * engine.model.preprocess.size, () => lost(mine));
  } catch (error) {
    showing("nothing");
    say(camera.reason(error));
    return;
  }
  showing("camera");
  say("");
  $("stage").classList.toggle("mirrored", facing === "user");
  $("turn").hidden = !(await camera.several());
  const rates = [rate(), rate()];
  const smooth = smoother(engine.model);
  while (mine === turn) {
    const shown = await camera.frame(video);
    if (mine !== turn || video.paused) continue;
    const { videoWidth: width, videoHeight: height } = video;
    if (!width) continue; // the video's size is unknown for a moment after the start
    frameStage(width, height);
    const answer = await asked(video, width, height);
    if (mine !== turn) return;
    if (!answer) return lost(mine, "");
    const values = valuesOf(answer.logits, engine.model);
    show(smooth(values, answer.cells, performance.now() / 1000));
    number("camera", rates[0](shown));
    number("fps", rates[1]());
    number("inference", answer.inference);
    number("preprocess", answer.preprocess);
  }
}

/** Rate per second over about two seconds; `count` is the total so far, if known. */
function rate() {
  const seen = [];
  let calls = 0;
  return (count = ++calls) => {
    seen.push([performance.now(), count]);
    while (seen.length > 2 && seen.at(-1)[0] - seen[0][0] > 2000) seen.shift();
    const [[start, from], [end, to]] = [seen[0], seen.at(-1)];
    return (1000 * (to - from)) / (end - start);
  };
}

function lost(mine, text = "The camera has gone. Plug it in again, then start it.") {
  if (mine !== turn) return;
  turn++;
  camera.stop(video);
  showing("nothing");
  if (text) say(text);
}

async function asked(source, width, height) {
  const { backend } = engine;
  try {
    const answer = await engine.ask(source, width, height);
    if (engine.backend !== backend) about(); // the backend failed, and the CPU took over
    return answer;
  } catch (error) {
    say(`The model failed: ${error.message}`);
    return undefined;
  }
}

async function look(file) {
  if (!file) return;
  const mine = ++turn;
  camera.stop(video);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    showing("nothing");
    say(`${file.name} is not a picture that this browser can read.`);
    return;
  }
  URL.revokeObjectURL($("photo").src);
  $("photo").src = URL.createObjectURL(file);
  frameStage(bitmap.width, bitmap.height);
  showing("photo");
  say(file.name, true);
  const answer = await asked(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  if (!answer || mine !== turn) return;
  show(valuesOf(answer.logits, engine.model));
  for (const id of ["camera", "fps"]) number(id, NaN);
  number("inference", answer.inference);
  number("preprocess", answer.preprocess);
}

function about() {
  const { model, threads, backend, refused } = engine;
  const size = (model.bytes / 1e6).toFixed(1);
  const kept = navigator.serviceWorker?.controller ? " Works without a network from now on." : "";
  const place =
    backend === "wasm" ? `${threads} thread${threads > 1 ? "s" : ""}` : BACKENDS[backend];
  $("about").textContent =
    `${model.name} (${size} MB) in ${model.runtime}, ${place}. Pictures stay on this device.${kept}`;
  $("refused").hidden = !refused;
  if (refused) {
    const reason = refused.reason.replace(/\.$/, "");
    $("refused").textContent = `${BACKENDS[refused.backend]} is not used: ${reason}.`;
  }
  $("backend").value = backend;
}

/** Backend of the address, or the visitor's last choice, if the browser may have it. */
function chosenBackend() {
  const wished = new URLSearchParams(location.search).get("backend") ?? remembered();
  return backends().includes(wished) ? wished : "wasm";
}

function remembered() {
  try {
    return localStorage.getItem("backend");
  } catch {
    return undefined; // storage is forbidden
  }
}

/** Offer the backends of this browser; a choice is remembered and loads the page again. */
function offerBackends() {
  for (const name of backends()) $("backend").add(new Option(BACKENDS[name], name));
  $("backends").hidden = $("backend").length < 2;
  $("backend").onchange = ({ target: { value } }) => {
    const address = new URL(location.href);
    address.searchParams.set("backend", value);
    try {
      localStorage.setItem("backend", value);
    } catch {
      // storage is forbidden: the address has the choice
    }
    location.href = address;
  };
}

/** Install the service worker; the first visit reloads the page to make it isolated. */
async function keep() {
  if (!navigator.serviceWorker) return;
  // A new version takes over by itself: the page must not mix files of two versions.
  const before = navigator.serviceWorker.controller;
  navigator.serviceWorker.oncontrollerchange = () => before && location.reload();
  const registration = await navigator.serviceWorker.register("./sw.js");
  const worker = registration.installing ?? registration.waiting ?? registration.active;
  await new Promise((resolve) => {
    const settled = () => ["activated", "redundant"].includes(worker.state) && resolve();
    worker.addEventListener("statechange", settled);
    settled();
  });
  const done = self.crossOriginIsolated && navigator.serviceWorker.controller;
  if (done || worker.state === "redundant") return sessionStorage.removeItem("reloaded");
  if (sessionStorage.getItem("reloaded")) return;
  sessionStorage.setItem("reloaded", "1");
  location.reload();
  await new Promise(() => {}); // load nothing large before the reload
}

function listen() {
  $("start").onclick = watch;
  $("turn").onclick = () => {
    facing = facing === "user" ? "environment" : "user";
    watch();
  };
  $("pause").onclick = () => {
    if (video.paused) video.play();
    else video.pause();
    $("pause").setAttribute("aria-pressed", String(video.paused));
  };
  $("file").onchange = ({ target }) => {
    look(target.files[0]);
    target.value = "";
  };
  document.ondragover = (event) => event.preventDefault();
  document.ondrop = (event) => {
    event.preventDefault();
    look(event.dataTransfer.files[0]);
  };
  document.onpaste = (event) => look(event.clipboardData.files[0]);
}

/** Show the browser's installation dialog when the user presses our button. */
function offerInstalling() {
  let question;
  self.addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    question = event;
    $("install").hidden = false;
  });
  self.addEventListener("appinstalled", () => { $("install").hidden = true; });
  $("install").onclick = () => question.prompt();
}

async function main() {
  offerInstalling();
  await keep().catch((error) => console.warn(`not kept for later: ${error.message}`));
  const given = Number(new URLSearchParams(location.search).get("threads")) || undefined;
  try {
    engine = await open(given, chosenBackend());
  } catch (error) {
    say(`The model cannot be loaded: ${error.message}`);
    return;
  }
  listen();
  offerBackends();
  about();
  $("open").hidden = false;
  showing("nothing");
  say("It runs in this browser: no picture leaves this device.");
  document.documentElement.dataset.ready = "";
}

main();
