// The visitor's camera: start it, wait for its frames, say in plain words why it is not there.

const REASONS = {
  NotAllowedError: "The camera was refused: allow it for this page in the browser's settings.",
  NotFoundError: "There is no camera here. A photo works too.",
  NotReadableError: "The camera is in use by another program, or does not respond.",
  OverconstrainedError: "This camera cannot do what was asked of it.",
};

/** What to tell the visitor about an error of `start`. */
export function reason(error) {
  return REASONS[error.name] ?? `The camera cannot be used: ${error.message || error.name}.`;
}

/** Play the camera that looks `facing` ("environment" or "user") in `video`; `side` pixels suffice. */
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

/** Whether there is a second camera to switch to; known only once one was allowed. */
export async function several() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "videoinput").length > 1;
}

/** The next frame that is shown: how many were shown so far (undefined where nobody counts). */
export function frame(video) {
  return new Promise((resolve) => {
    if (video.requestVideoFrameCallback) {
      video.requestVideoFrameCallback((now, { presentedFrames }) => resolve(presentedFrames));
    } else {
      requestAnimationFrame(() => resolve(undefined));
    }
  });
}
