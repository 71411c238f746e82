// The page: a file or the camera goes to /v1/predict of this server, and what comes back is drawn here.
"use strict";
const $ = (name) => document.getElementById(name);
const make = (tag, text = "", kind = "") => Object.assign(document.createElement(tag), { textContent: text, className: kind });
const COLOURS = ["#0a7d33", "#b45309", "#7c3aed", "#0369a1", "#be185d"];
const seen = { model: null, file: null, clip: false, rows: [], frames: [], mesh: [], size: [0, 0], face: 0, heats: {}, turn: 0, address: "", ask: null };

function say(text, wrong = false) {
  $("said").textContent = text;
  $("said").classList.toggle("wrong", wrong);
}

// --- What is sent and what comes back -----------------------------------------------------------

async function line(answer) { // what the server says of a refusal
  try { return (await answer.json()).error; } catch { return `the server says ${answer.status}`; }
}

async function bring(file) {
  if (!file) return;
  seen.ask?.abort();
  const ask = seen.ask = new AbortController(), turn = ++seen.turn;
  const most = seen.model?.limits.body_mb;
  $("progress").hidden = true; // that of a file before this one
  if (most && file.size > most * 1e6) return say(`This file has ${Math.ceil(file.size / 1e6)} MB; at most ${most} MB are taken.`, true);
  const clip = file.type.startsWith("video/") || (!file.type && /\.(mp4|m4v|mov|webm|mkv|avi|mpe?g|ogv|3gp|wmv|mts)$/i.test(file.name));
  say(clip ? "The clip is read ..." : "The picture is read ...");
  Object.assign($("progress"), { hidden: false }).removeAttribute("value");
  show(file, clip);
  try {
    await (clip ? clipOf : pictureOf)(file, ask.signal, turn);
  } catch (error) {
    if (turn !== seen.turn) return;
    say(error.message, true);
  } finally {
    if (turn === seen.turn) $("progress").hidden = true;
  }
}

const UNHEARD = "The server cannot be reached.";
function post(path, file, signal) {
  const type = file.type || "application/octet-stream";
  return fetch(path, { method: "POST", body: file, headers: { "Content-Type": type }, signal }).catch(() => { throw new Error(UNHEARD); });
}

async function pictureOf(file, signal, turn) {
  const answer = await post("/v1/predict?mesh=1", file, signal);
  if (!answer.ok) throw new Error(await line(answer));
  const told = await answer.json();
  if (turn !== seen.turn) return;
  const rows = told.rows.map((row) => ({ ...row, file: file.name || "picture" }));
  Object.assign(seen, { rows, mesh: told.mesh, size: [told.width, told.height] });
  finished(told.problems);
}

async function clipOf(file, signal, turn) {
  const answer = await post("/v1/predict?format=jsonl", file, signal);
  if (!answer.ok) throw new Error(await line(answer));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", problems = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (turn !== seen.turn) return;
    const lines = (rest + (value || "")).split("\n");
    rest = lines.pop();
    for (const text of lines) {
      const row = JSON.parse(text);
      if (row.problems) problems = row.problems;
      else seen.rows.push({ ...row, file: file.name || "clip" });
    }
    const last = seen.rows[seen.rows.length - 1];
    if (last) {
      say(`${last.frame + 1} frames are read, up to ${last.time.toFixed(1)} s ...`);
      if ($("clip").duration > 0 && isFinite($("clip").duration)) Object.assign($("progress"), { max: $("clip").duration, value: last.time });
    }
    if (done) break;
  }
  finished(problems);
}

function unplayable() {
  $("problems").append(make("li", "This browser cannot play the clip; the chart and the table are of all its frames."));
}

function finished(problems) {
  const faces = [...new Set(seen.rows.map((row) => row.face).filter((face) => face >= 0))];
  seen.frames = [];
  for (const row of seen.rows) (seen.frames[row.frame] ||= { time: row.time, rows: [] }).rows.push(row);
  seen.frames = seen.frames.filter(Boolean);
  $("problems").replaceChildren(...problems.map((text) => make("li", text)));
  if (seen.clip && $("clip").error) unplayable();
  $("result").hidden = false;
  if (!faces.length) {
    say(seen.clip ? "No face was found in the clip." : "No face was found in the picture.");
  } else {
    const frames = seen.clip ? ` in ${seen.frames.length} frames` : "";
    say(`${faces.length === 1 ? "One face" : `${faces.length} faces`}${frames}.`);
  }
  choose(faces, faces[0] ?? null);
  if (seen.clip) chart.make(seen, columns());
  $("over-time").hidden = !seen.clip || !faces.length || !columns().length;
  now();
  $("h-result").focus({ preventScroll: true });
  if ($("result").getBoundingClientRect().top > innerHeight - 80) $("result").scrollIntoView();
}

// --- What is shown ------------------------------------------------------------------------------

function show(file, clip) {
  if (seen.address) URL.revokeObjectURL(seen.address);
  for (const url of Object.values(seen.heats)) URL.revokeObjectURL(url);
  Object.assign(seen, { file, clip, rows: [], frames: [], mesh: [], heats: {}, address: URL.createObjectURL(file) });
  $("result").hidden = true;
  $("map").value = "";
  $("heat").hidden = true;
  $("picture").hidden = clip;
  $("clip").hidden = !clip;
  $("with-mesh").hidden = $("with-heat").hidden = clip;
  $("clip").removeAttribute("src");
  $("picture").removeAttribute("src");
  (clip ? $("clip") : $("picture")).src = seen.address;
  $("picture").alt = `the picture ${file.name || ""}`;
}

function choose(faces, face) {
  seen.face = face;
  $("faces").hidden = faces.length < 2;
  $("faces").replaceChildren(...faces.slice(0, 40).map((number) => {
    const button = make("button", `face ${number}`, "chip");
    button.type = "button";
    button.style.setProperty("--ink", COLOURS[number % COLOURS.length]);
    button.setAttribute("aria-pressed", number === face);
    button.onclick = () => {
      choose(faces, number);
      if (seen.clip) chart.make(seen, columns());
      heat();
      now();
      [...$("faces").children].find((other) => other.textContent === button.textContent)?.focus();
    };
    return button;
  }));
}

const intensities = () => Boolean(seen.model?.intensities);
const columns = () => (seen.model?.aus || []).map((au) => (intensities() ? `${au.column}_intensity` : au.column));

function frame() { // what is seen now, of a clip by its time
  if (!seen.clip || !seen.frames.length) return seen.frames[0];
  const time = $("clip").currentTime + 1e-3;
  let low = 0, high = seen.frames.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (seen.frames[middle].time <= time) low = middle; else high = middle - 1;
  }
  return seen.frames[low];
}

function bar(name, title, share, text, kind = "") {
  const line = make("div", "", `bar ${kind}`), track = make("span", "", "track"), inner = make("span");
  line.setAttribute("role", "listitem");
  track.setAttribute("aria-hidden", "true");
  inner.style.width = `${100 * Math.max(0, Math.min(1, share))}%`;
  track.append(inner);
  const head = make("span", name);
  head.title = title;
  line.append(head, track, make("span", text));
  return line;
}

function tell(row) {
  const model = seen.model || { expressions: [], aus: [] };
  const label = row?.label || "";
  $("label").textContent = !row ? "No face here" : label ? `${label}, ${Math.round(100 * row[label])} %` : "A face";
  for (const name of ["expressions", "aus"]) $(`h-${name}`).hidden = $(name).hidden = !row || !model[name].length;
  $("scale").hidden = $("pose").previousElementSibling.hidden = $("pose").hidden = !row;
  if (!row) return;
  $("expressions").replaceChildren(...model.expressions.map((name) =>
    bar(name, name, row[name], `${Math.round(100 * row[name])} %`, name === label ? "most" : "")));
  $("scale").textContent = intensities() ? "Intensity from 0 to 5; bold: present, by its probability." : "Probability that each is present.";
  const bars = [];
  for (const au of model.aus) {
    const value = intensities() ? row[`${au.column}_intensity`] : row[au.column];
    const share = intensities() ? value / 5 : value;
    bars.push(bar(`${au.column} ${au.name}`, `${au.column} ${au.name}, present with ${Math.round(100 * row[au.column])} %`, share, value.toFixed(intensities() ? 1 : 2), row[au.column] >= 0.5 ? "most" : ""));
    for (const side of ["left", "right"]) {
      const strength = row[`${au.column}_${side}`];
      if (strength != null) bars.push(bar(`its ${side} side`, `the person's ${side}`, strength / 5, strength.toFixed(1), "side"));
    }
  }
  $("aus").replaceChildren(...bars);
  $("pose").textContent = ["pitch", "roll", "yaw"].map((name) => `${name} ${Math.round(row[name])}°`).join(", ");
}

function draw(rows) {
  const canvas = $("marks"), media = seen.clip ? $("clip") : $("picture");
  const [width, height] = seen.clip ? [media.videoWidth, media.videoHeight] : seen.size;
  canvas.setAttribute("aria-label", rows.filter((row) => row.face >= 0).map((row) => `face ${row.face}: ${row.label || "found"}`).join("; ") || "no face");
  canvas.hidden = !width || !media.clientWidth;
  if (canvas.hidden) return;
  const dense = Math.min(devicePixelRatio || 1, 2), scale = (media.clientWidth / width) * dense;
  canvas.width = Math.round(media.clientWidth * dense);
  canvas.height = Math.round(media.clientHeight * dense);
  const ink = canvas.getContext("2d");
  ink.font = `600 ${13 * dense}px system-ui, sans-serif`;
  rows.forEach((row, place) => {
    if (row.face < 0) return;
    const colour = COLOURS[row.face % COLOURS.length], mine = row.face === seen.face;
    const dot = (x, y, size, fill) => { ink.fillStyle = fill; ink.beginPath(); ink.arc((x + 0.5) * scale, (y + 0.5) * scale, size, 0, 7); ink.fill(); };
    if ($("mesh").checked && seen.mesh[place]) for (let i = 0; i < seen.mesh[place].length; i += 2) dot(seen.mesh[place][i], seen.mesh[place][i + 1], 0.9 * dense, "#ffffffb0");
    if ($("points").checked) {
      const size = Math.max(1.2 * dense, (row.width * scale) / 110);
      for (let i = 0; i < 68; i++) { dot(row[`x_${i}`], row[`y_${i}`], size + 0.8 * dense, "#fff"); dot(row[`x_${i}`], row[`y_${i}`], size, colour); }
    }
    if ($("boxes").checked) {
      const box = [row.left * scale, row.top * scale, row.width * scale, row.height * scale];
      ink.lineWidth = (mine ? 3 : 2) * dense + 2; ink.strokeStyle = "#ffffffc0"; ink.strokeRect(...box);
      ink.lineWidth = (mine ? 3 : 2) * dense; ink.strokeStyle = colour; ink.strokeRect(...box);
      const text = row.label ? `${row.label} ${Math.round(100 * row[row.label])} %` : `face ${row.face}`;
      const wide = ink.measureText(text).width + 10 * dense, high = 19 * dense;
      const x = Math.max(0, Math.min(box[0], canvas.width - wide)), y = box[1] > high ? box[1] - high : box[1];
      ink.fillStyle = colour; ink.fillRect(x, y, wide, high);
      ink.fillStyle = "#fff"; ink.fillText(text, x + 5 * dense, y + 14 * dense);
    }
  });
}

function now() {
  if ($("result").hidden) return;
  const here = frame();
  const rows = here ? here.rows : [];
  tell(rows.find((row) => row.face === seen.face));
  draw(rows);
  if (seen.clip) chart.move($("clip").currentTime, here ? here.time : 0);
}

async function heat() {
  const kind = $("map").value, turn = seen.turn, name = `${kind}${seen.face}`;
  $("heat").hidden = true;
  if (!kind || seen.clip || seen.face === null) return;
  if (!seen.heats[name]) {
    const before = $("said").textContent;
    say("The heatmap is made ...");
    const place = seen.rows.findIndex((row) => row.face === seen.face);
    let answer;
    try { answer = await post(`/v1/heatmap?kind=${kind}&face=${place}`, seen.file); } catch (error) { return say(error.message, true); }
    if (turn !== seen.turn) return;
    if (!answer.ok) return say(await line(answer), true);
    seen.heats[name] = URL.createObjectURL(await answer.blob());
    say(before);
  }
  if (name !== `${$("map").value}${seen.face}`) return;
  $("heat").src = seen.heats[name];
  $("heat").hidden = false;
}

function save() {
  if (!seen.rows.length) return;
  const names = Object.keys(seen.rows[0]);
  const cell = (value) => (value == null ? "" : /[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  const text = [names, ...seen.rows.map((row) => names.map((name) => row[name]))].map((row) => row.map(cell).join(",")).join("\r\n");
  const link = make("a"), address = URL.createObjectURL(new Blob([text + "\r\n"], { type: "text/csv" }));
  Object.assign(link, { href: address, download: `${(seen.file.name || "table").replace(/\.[^.]*$/, "")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
