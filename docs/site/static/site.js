// A picture opens at its own size at a click or Enter, and closes at the next, or at Escape.
const open = ({ target }) => {
  if (!target.matches(".picture")) return;
  const dialog = document.body.appendChild(document.createElement("dialog"));
  dialog.className = "whole";
  dialog.append(new Image());
  Object.assign(dialog.firstChild, { src: target.src, alt: target.alt });
  dialog.onclick = () => dialog.close();
  dialog.onclose = () => dialog.remove();
  dialog.showModal();
};

document.addEventListener("click", open);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter") open(event);
  if (event.key === "Escape") document.querySelector("dialog.whole")?.close();  // Sphinx takes it
});
document.addEventListener("DOMContentLoaded", () => {
  for (const picture of document.querySelectorAll("article img")) {
    picture.classList.add("picture");
    Object.assign(picture, { tabIndex: 0, role: "button" });
  }
});
