// The strip that shows while a sound is recorded.

import { announce, byId } from "./dom.js";
import { Recorder, canRecord } from "./recorder.js";

const REASONS = {
  NotAllowedError: "The microphone is not allowed here. Allow it in the browser's settings of this page.",
  NotFoundError: "There is no microphone.",
};

let recorder = null;

// The recording in progress, or null.
export function recording() {
  return recorder;
}

// on: {add(files), fail(message), seconds(): the longest recording}
export function prepareRecording(on) {
  const button = byId("record");
  if (!canRecord()) {
    button.disabled = true;
    button.title = "Browsers record only on pages from this machine or over HTTPS";
    return;
  }
  button.addEventListener("click", () => (recorder ? recorder.stop() : begin(on)));
  byId("recording-stop").addEventListener("click", () => recorder?.stop());
  byId("recording-cancel").addEventListener("click", () => recorder?.cancel());
}

async function begin(on) {
  try {
    recorder = await Recorder.start(on.seconds(), {
      tick: (seconds, level) => {
        byId("recording-time").textContent = `${seconds.toFixed(1)} s`;
        byId("recording-level").value = level;
      },
      done: (file) => on.add([file]),
      fail: on.fail,
      end: () => {
        recorder = null;
        showStrip(false);
      },
    });
  } catch (error) {
    on.fail(REASONS[error.name] ?? "The microphone does not answer.");
    return;
  }
  on.fail(null);
  showStrip(true);
  announce("Recording");
  byId("recording-stop").focus();
}

function showStrip(active) {
  byId("recording").hidden = !active;
  byId("record").classList.toggle("on", active);
  byId("record").setAttribute("aria-label", active ? "End the recording" : "Record a sound");
  if (!active) byId("record").focus();
}
