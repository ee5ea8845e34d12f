/**
 * The camera: frames, one at a time, as fast as they are answered.
 */

/**
 * @param {HTMLVideoElement} video shows the camera
 * @param {(bitmap: ImageBitmap) => Promise<void>} answer called with every frame; the next one is
 *   taken when it is done
 * @param {(error: Error) => void} fail called when a frame could not be answered; the camera goes on
 * @returns {Promise<() => void>} a function that turns the camera off
 * @throws {Error} one line: no camera, or no permission
 */
export async function startCamera(video, answer, fail) {
  if (!navigator.mediaDevices) {
    throw new Error("browsers give it only to pages from https or localhost");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: { ideal: "environment" }, width: { ideal: 1280 } },
    });
  } catch (error) {
    throw new Error(
      error.name === "NotAllowedError" ? "it was not allowed" : "none was found",
    );
  }
  const [track] = stream.getVideoTracks();
  // People expect a mirror from a camera that looks at them; the model sees the true picture.
  video.classList.toggle("mirror", track.getSettings().facingMode === "user");
  video.srcObject = stream;

  let on = true;
  const stop = () => {
    on = false;
    track.stop();
    video.srcObject = null;
  };
  const next = () => video.requestVideoFrameCallback?.(frame) ?? requestAnimationFrame(frame);
  const frame = async () => {
    if (!on) {
      return;
    }
    try {
      await answer(await createImageBitmap(video));
    } catch (error) {
      fail(error);
    } finally {
      if (on) {
        next();
      }
    }
  };
  try {
    await video.play();
  } catch (error) {
    stop();
    throw error;
  }
  next();
  return stop;
}
