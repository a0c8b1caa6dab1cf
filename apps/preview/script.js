"use strict";

const $ = (id) => document.getElementById(id);

function element(tag, parent, className) {
  const made = parent.appendChild(document.createElement(tag));
  if (className) made.className = className;
  return made;
}

// The elements of a panel are created once and reused; labels are inserted as text, never as HTML.
function panelAt(index, answers) {
  const panels = $("panels");
  while (panels.children.length <= index) {
    const panel = element("article", panels, "panel");
    const header = element("header", panel);
    element("span", header);
    element("span", header);
    element("p", panel, "doubt");
  }
  const panel = panels.children[index];
  while (panel.querySelectorAll(".answer").length < answers) {
    const answer = element("div", panel, "answer");
    const line = element("span", answer);
    element("i", line);
    element("b", line);
    element("div", element("div", answer, "bar"));
  }
  return panel;
}

function showPanels(panels) {
  panels.forEach((content, index) => {
    const panel = panelAt(index, content.top.length);
    const [title, time] = panel.querySelectorAll("header span");
    title.textContent = content.title;
    time.textContent = `${content.ms.toFixed(1)} ms`;
    panel.classList.toggle("unsure", content.doubt !== "");
    panel.querySelector(".doubt").textContent = content.doubt;
    panel.querySelectorAll(".answer").forEach((answer, place) => {
      answer.hidden = place >= content.top.length; // a multi-label network may answer fewer
      if (answer.hidden) return;
      const { label, p } = content.top[place];
      answer.querySelector("i").textContent = label;
      answer.querySelector("b").textContent = `${Math.round(p * 100)} %`;
      answer.querySelector(".bar div").style.transform = `scaleX(${p})`;
    });
  });
  while ($("panels").children.length > panels.length) $("panels").lastChild.remove();
}

function showModels(models, active) {
  const group = $("models");
  if (models.length < 2) return;
  models.forEach((file, index) => {
    const button = group.children[index] || element("button", group);
    button.textContent = file.split(/[\\/]/).pop();
    button.dataset.do = String(index);
    button.setAttribute("aria-pressed", String(active.length === 1 && active[0] === index));
  });
  const compare = document.querySelector('[data-do="compare"]');
  compare.hidden = false;
  compare.setAttribute("aria-pressed", String(active.length > 1));
}

function say(text, id = "status") {
  $(id).textContent = text;
  $(id).hidden = !text;
}

function show(state) {
  showPanels(state.panels);
  showModels(state.models, state.active);
  for (const name of ["camera_fps", "inference_fps", "delay_ms", "dropped"]) {
    const value = state[name];
    $(name).textContent = name === "dropped" ? value : value.toFixed(value < 10 ? 1 : 0);
  }
  $("difference").textContent = state.difference;
  $("difference").hidden = !state.difference;
  const pause = document.querySelector('[data-do="pause"]');
  pause.textContent = state.paused ? "Go on" : "Pause";
  document.querySelector('[data-do="heat"]').setAttribute("aria-pressed", String(state.heat));
  say(state.status || (state.paused ? "paused" : ""));
  say(state.notice, "notice");
}

function watch() {
  const picture = $("picture");
  const load = () => { picture.src = `picture?${Date.now()}`; };
  const events = new EventSource("events");
  events.onopen = load;
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.onerror = () => say("the camera does not respond; trying again");
}

async function command(action) {
  const sent = fetch(`do/${action}`, { method: "POST", headers: { "X-Edge-Effnet": "1" } });
  const answer = await sent.catch(() => undefined);
  if (!answer) say("the camera does not respond", "notice");
  else if (!answer.ok) say(await answer.text(), "notice");
}

document.addEventListener("click", (event) => {
  const action = event.target.dataset.do;
  if (action) command(action);
});

watch();
