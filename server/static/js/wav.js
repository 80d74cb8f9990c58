// Sounds between the browser's form and a WAV file of one channel with 16 bits, which every server takes.

const RATE = 48000;

// Raises what the browser raises for bytes it cannot decode.
export async function decodeSound(bytes) {
  // The context takes the bytes with it.
  return new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes.slice(0));
}

// The mean of all channels.
function mixed(sound) {
  const mono = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel += 1) {
    const samples = sound.getChannelData(channel);
    for (let index = 0; index < mono.length; index += 1) mono[index] += samples[index] / sound.numberOfChannels;
  }
  return mono;
}

export function encodeWav(sound) {
  const samples = mixed(sound);
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const ascii = (offset, text) => [...text].forEach((letter, index) => view.setUint8(offset + index, letter.charCodeAt(0)));
  ascii(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  ascii(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, sound.sampleRate, true);
  view.setUint32(28, 2 * sound.sampleRate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  ascii(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, index) => {
    view.setInt16(44 + 2 * index, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
  });
  return new Blob([view.buffer], { type: "audio/wav" });
}

// The loudest sample of each of `bars` equal stretches, the loudest of all being 1.
export function peaksOf(sound, bars = 24) {
  const samples = mixed(sound);
  const peaks = Array.from({ length: bars }, (_, bar) => {
    const end = Math.floor(((bar + 1) * samples.length) / bars);
    let peak = 0;
    for (let index = Math.floor((bar * samples.length) / bars); index < end; index += 1) {
      peak = Math.max(peak, Math.abs(samples[index]));
    }
    return peak;
  });
  const loudest = Math.max(...peaks);
  return loudest > 0 ? peaks.map((peak) => peak / loudest) : peaks;
}
