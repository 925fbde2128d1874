// Pictures and clips that the reader chooses, drops or pastes.

const LARGEST = 64 * 2 ** 20; // bytes that the server takes

const chosen = document.querySelector("#file");
const drop = document.querySelector("#drop");

/** Calls `done(file)` with each picture or clip, and `refuse(sentence)` instead of other files. */
export function receive(done, refuse) {
  const take = (file) => {
    const fault = file && unusable(file);
    if (fault) refuse(fault);
    else if (file) done(file);
  };
  chosen.addEventListener("change", () => {
    take(chosen.files[0]);
    chosen.value = ""; // the same file can be chosen again
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
  document.addEventListener("drop", (event) => {
    drop.hidden = true;
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
}

function unusable({ name, type, size }) {
  if (!/^(image|video)\//.test(type)) return `${name} is neither a picture nor a video.`;
  return size > LARGEST ? `${name} is larger than 64 MiB; cut a shorter clip.` : "";
}

document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  drop.hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.hidden = true; // it left the window
});
