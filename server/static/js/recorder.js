// Recording: the microphone -> a WAV file. Whatever format the browser records in is decoded and written anew.

import { decodeSound, encodeWav } from "./wav.js";

// Browsers give the microphone only to pages from this machine or over HTTPS.
export function canRecord() {
  return Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);
}

export class Recorder {
  #recorder;
  #context;
  #stream;
  #timer;
  #started;

  // limit: seconds; on: {tick(seconds, level), end(), done(file), fail(message)}
  static async start(limit, on) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    return new Recorder(stream, limit, on);
  }

  constructor(stream, limit, on) {
    this.#stream = stream;
    this.#recorder = new MediaRecorder(stream);
    const pieces = [];
    this.#recorder.ondataavailable = (event) => pieces.push(event.data);
    this.#recorder.onstop = async () => {
      this.#release();
      on.end();
      if (this.cancelled) return;
      try {
        const sound = await decodeSound(await new Blob(pieces).arrayBuffer());
        on.done(new File([encodeWav(sound)], "recording.wav", { type: "audio/wav" }));
      } catch {
        on.fail("Nothing was recorded. Try again, a little longer.");
      }
    };
    this.#context = new AudioContext();
    const analyser = this.#context.createAnalyser();
    this.#context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.#started = performance.now();
    this.#timer = setInterval(() => {
      const seconds = (performance.now() - this.#started) / 1000;
      analyser.getFloatTimeDomainData(samples);
      on.tick(seconds, Math.max(...samples.map(Math.abs)));
      if (seconds >= limit) this.stop();
    }, 100);
    this.#recorder.start();
  }

  stop() {
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
  }

  cancel() {
    this.cancelled = true;
    this.stop();
  }

  #release() {
    clearInterval(this.#timer);
    for (const track of this.#stream.getTracks()) track.stop();
    this.#context.close();
  }
}
