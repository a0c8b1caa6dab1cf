// The visitor's camera: start it, wait for frames, and explain errors in plain words.

const REASONS = {
  NotAllowedError: "The camera was refused: allow it for this page in the browser's settings.",
  NotFoundError: "There is no camera here. A photo works too.",
  NotReadableError: "The camera is in use by another program, or does not respond.",
  OverconstrainedError: "This camera cannot do what was asked of it.",
};

/** Message to the visitor for an error of `start`. */
export function reason(error) {
  return REASONS[error.name] ?? `The camera cannot be used: ${error.message || error.name}.`;
}

/** Play a camera in `video`: `facing` is "environment" or "user", `side` the needed pixels. */
export async function start(video, facing, side, ended) {
  if (!navigator.mediaDevices?.getUserMedia) {
    const error = new Error("browsers allow it on https:// and on localhost only");
    throw error;
  }
  stop(video);
  const height = { ideal: Math.max(480, side) };
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: false,
    video: { facingMode: facing, height },
  });
  stream.getVideoTracks()[0].addEventListener("ended", ended);
  video.srcObject = stream;
  await video.play();
}

export function stop(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

/** Whether there is a second camera; known only after the visitor has allowed one. */
export async function several() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "videoinput").length > 1;
}

/** Wait for the next frame; returns the number of frames so far, undefined if unknown. */
export function frame(video) {
  return new Promise((resolve) => {
    if (video.requestVideoFrameCallback) {
      video.requestVideoFrameCallback((now, { presentedFrames }) => resolve(presentedFrames));
    } else {
      requestAnimationFrame(() => resolve(undefined));
    }
  });
}
