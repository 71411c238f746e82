// AU intensities over time on one axis with the clip; and what the page listens to.
const chart = {
  WIDE: 900, HIGH: 240, LEFT: 34, BOTTOM: 24, TOP: 8, SHOWN: 6,
  INKS: ["#2f6fde", "#c2410c", "#15803d", "#a21caf", "#b08900", "#0e7490", "#dc2626", "#6d28d9", "#4d7c0f", "#db2777", "#64748b", "#92400e"],
  end: 1, most: 5, chosen: null,

  part(tag, values, text = "") {
    const part = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(values)) part.setAttribute(name, value);
    part.textContent = text;
    return part;
  },
  x(time) { return this.LEFT + ((this.WIDE - this.LEFT - 6) * time) / this.end; },
  y(value) { return this.TOP + (this.HIGH - this.TOP - this.BOTTOM) * (1 - value / this.most); },
  ink(names, name) { return this.INKS[names.indexOf(name) % this.INKS.length]; },

  make(seen, names) {
    const rows = seen.rows.filter((row) => row.face === seen.face), last = seen.frames[seen.frames.length - 1];
    this.WIDE = Math.max(320, Math.min(1100, $("over-time").clientWidth || $("content").clientWidth || 900)); // letters keep their size
    this.end = Math.max(last ? last.time : 0, 1e-3);
    this.most = intensities() ? 5 : 1;
    const peak = (name) => Math.max(0, ...rows.map((row) => row[name] ?? 0));
    const order = [...names].sort((a, b) => peak(b) - peak(a));
    if (this.file !== seen.file) this.chosen = new Set(order.slice(0, this.SHOWN));
    this.file = seen.file;
    this.lines(rows, names);
    $("chosen").replaceChildren(...order.map((name) => {
      const label = name.replace("_intensity", ""), told = seen.model.aus.find((au) => au.column === label);
      const chip = make("button", label, "chip");
      chip.type = "button";
      chip.title = told.name;
      chip.style.setProperty("--ink", this.ink(names, name));
      chip.setAttribute("aria-label", `${label}, ${told.name}`);
      chip.setAttribute("aria-pressed", this.chosen.has(name));
      chip.onclick = () => {
        if (!this.chosen.delete(name)) this.chosen.add(name);
        chip.setAttribute("aria-pressed", this.chosen.has(name));
        this.lines(rows, names);
        now();
      };
      return chip;
    }));
  },

  lines(rows, names) {
    const svg = this.part("svg", { viewBox: `0 0 ${this.WIDE} ${this.HIGH}`, "aria-hidden": "true" });
    for (let i = 0; i <= 5; i++) {
      const value = (this.most * i) / 5, y = this.y(value);
      svg.append(this.part("line", { class: "grid", x1: this.LEFT, x2: this.WIDE - 6, y1: y, y2: y }));
      svg.append(this.part("text", { x: this.LEFT - 6, y: y + 4, "text-anchor": "end" }, String(+value.toFixed(1))));
    }
    const rough = (this.end * 90) / this.WIDE, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    for (let time = 0; time <= this.end + 1e-9; time += step) {
      const near = this.x(time) > this.WIDE - 24;
      svg.append(this.part("text", { x: this.x(time), y: this.HIGH - 6, "text-anchor": near ? "end" : "middle" }, `${+time.toFixed(2)} s`));
    }
    for (const name of names) {
      if (!this.chosen.has(name)) continue;
      let path = "", before = -2;
      for (const row of rows) { // a line ends where the face is not seen
        const value = row[name];
        if (value == null) continue;
        path += `${row.frame === before + 1 ? "L" : "M"}${this.x(row.time).toFixed(1)} ${this.y(value).toFixed(1)}`;
        before = row.frame;
      }
      svg.append(this.part("path", { d: path, stroke: this.ink(names, name), "data-au": name.replace("_intensity", "") }));
    }
    svg.append(this.part("line", { class: "now", y1: this.TOP, y2: this.HIGH - this.BOTTOM }));
    $("chart").replaceChildren(svg);
  },

  move(time, shown) {
    const line = $("chart").querySelector(".now"), at = Math.min(time, this.end);
    if (!line) return;
    line.setAttribute("x1", this.x(at));
    line.setAttribute("x2", this.x(at));
    $("chart").setAttribute("aria-valuemax", this.end.toFixed(2));
    $("chart").setAttribute("aria-valuenow", at.toFixed(2));
    $("chart").setAttribute("aria-valuetext", `${shown.toFixed(2)} seconds`);
  },

  seek(event) {
    const box = $("chart").getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * this.WIDE;
    const share = (x - this.LEFT) / (this.WIDE - this.LEFT - 6);
    $("clip").currentTime = Math.max(0, Math.min(1, share)) * this.end;
  },
};

$("chart").addEventListener("pointerdown", (event) => { chart.seek(event); $("chart").setPointerCapture(event.pointerId); });
$("chart").addEventListener("pointermove", (event) => { if ($("chart").hasPointerCapture(event.pointerId)) chart.seek(event); });
$("chart").addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -0.1, ArrowRight: 0.1, PageDown: -1, PageUp: 1, Home: -1e9, End: 1e9 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  $("clip").currentTime = Math.max(0, Math.min(chart.end, $("clip").currentTime + steps[event.key]));
});

// --- The camera ---------------------------------------------------------------------------------

const camera = { stream: null, recorder: null, LONGEST: 10 };

async function open() {
  if (camera.stream) return close();
  if (!navigator.mediaDevices) return say("The browser gives the camera only to pages of this machine, or by https.", true);
  try {
    camera.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
  } catch (error) {
    return say(`The camera cannot be used: ${error.message}`, true);
  }
  $("viewfinder").srcObject = camera.stream;
  await $("viewfinder").play();
  $("live").hidden = false;
  $("record").hidden = !("MediaRecorder" in window);
  $("camera").setAttribute("aria-expanded", true);
  $("shoot").focus();
}

function close() {
  if (camera.recorder?.state === "recording") camera.recorder.stop();
  camera.stream?.getTracks().forEach((track) => track.stop());
  camera.stream = $("viewfinder").srcObject = null;
  $("live").hidden = true;
  $("camera").setAttribute("aria-expanded", false);
  $("camera").focus();
}

function shoot() {
  const video = $("viewfinder"), canvas = make("canvas");
  Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => bring(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.95);
}

function record() {
  if (camera.recorder?.state === "recording") return camera.recorder.stop();
  const parts = [], recorder = camera.recorder = new MediaRecorder(camera.stream);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    $("record").textContent = "Record a clip";
    $("record").setAttribute("aria-pressed", false);
    const type = recorder.mimeType.split(";")[0];
    bring(new File(parts, `camera.${type.endsWith("mp4") ? "mp4" : "webm"}`, { type }));
  };
  recorder.start();
  $("record").textContent = "Stop recording";
  $("record").setAttribute("aria-pressed", true);
  say(`The camera records, ${camera.LONGEST} seconds at most.`);
  setTimeout(() => { if (recorder.state === "recording") recorder.stop(); }, camera.LONGEST * 1000);
}

// --- Listening ----------------------------------------------------------------------------------

$("file").addEventListener("change", () => { bring($("file").files[0]); $("file").value = ""; });
for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const kind of ["dragleave", "drop"]) addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.remove("over"); });
addEventListener("drop", (event) => bring(event.dataTransfer.files[0]));
addEventListener("paste", (event) => bring(event.clipboardData.files[0]));
$("camera").onclick = open;
$("off").onclick = close;
$("shoot").onclick = shoot;
$("record").onclick = record;
$("save").onclick = save;
$("map").onchange = heat;
for (const name of ["boxes", "points", "mesh"]) $(name).onchange = now;
$("picture").onload = now;
$("clip").addEventListener("loadedmetadata", now);
$("clip").addEventListener("error", () => { if ($("clip").src && !$("result").hidden) unplayable(); }); // else it is said with the result
for (const kind of ["seeked", "timeupdate", "pause"]) $("clip").addEventListener(kind, now);
$("clip").addEventListener("play", function follow() { now(); if (!$("clip").paused && !$("clip").ended) requestAnimationFrame(follow); });
new ResizeObserver(() => { if (seen.clip && seen.frames.length && !$("result").hidden) chart.make(seen, columns()); now(); }).observe($("stage"));

fetch("/v1/model").then((answer) => answer.json()).then((model) => {
  seen.model = model;
  $("most").textContent = `up to ${model.limits.body_mb} MB, ${model.limits.million_pixels} million pixels; of a clip ${model.limits.frames} frames are read`;
  $("about").textContent += ` Network: ${model.name}.`;
  for (const option of $("map").options) option.disabled = (option.value === "scorecam" && (model.reads !== "image" || !model.expressions.length)) || (option.value === "aus" && !model.aus.length);
}).catch(() => say(UNHEARD, true));
