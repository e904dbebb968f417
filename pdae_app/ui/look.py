"""The page's look, and what it does in the browser alone."""

import gradio as gr

THEME = gr.themes.Soft(
    primary_hue="teal",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    # Soft's own teal is too pale to be read on white, and under white.
    block_label_text_color="*primary_800",
    block_title_text_color="*primary_800",
    block_info_text_color="*neutral_600",
    checkbox_label_background_fill_selected="*primary_700",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
)

CSS = """
.gradio-container {
  width: 100%; max-width: min(1360px, 100vw) !important; margin: 0 auto !important;
  overflow: clip !important;  /* not hidden, within which nothing sticks */
}
/* On a telephone the row of tabs must not widen the page; what does not fit goes into its menu. */
.gradio-container main.contain { min-width: 0; max-width: 100%; }
.gradio-container .wrap:has(> main) { min-width: 0; max-width: 100%; }
.gradio-container .tabs, .gradio-container .tab-wrapper { min-width: 0; max-width: 100%; }
/* Tabs that make no sense for the model: Gradio cannot hide them later, but it can disable them. */
.tabs button[role=tab]:disabled { display: none; }
#status p { margin: 0.2em 0; }
/* Gradio counts tenths of seconds there, unseen, and a screen reader would read all of them. */
[id$=status] > [data-testid=status-tracker].hide { display: none !important; }
#notice { border-left: 4px solid #d97706; padding-left: 0.8em; }
.gradio-container h1 { margin: 0 !important; font-size: 1.5em !important; }
:focus-visible { outline: 3px solid #0f766e !important; outline-offset: 2px; }
/* Forty sliders must not push the picture out of sight. The groups' names come first in the page,
   and stand before their sliders by `order`. */
#sliders {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 2px 6px;
  grid-auto-rows: max-content; max-height: calc(100vh - 260px); min-height: 300px; overflow-y: auto;
}
#sliders > .form { display: contents; }
.group-head { grid-column: 1 / -1; }
.group-head h3 { margin: 0; font-size: 1em; }
.head-0 { order: 0; } .group-0 { order: 1; } .head-1 { order: 2; } .group-1 { order: 3; }
.head-2 { order: 4; } .group-2 { order: 5; } .head-3 { order: 6; } .group-3 { order: 7; }
.attribute-slider { padding: 4px 8px !important; border-radius: 6px; }
/* Choices that stand among buttons look like them. */
#average, #save-kind {
  border-radius: var(--button-small-radius); box-shadow: var(--button-secondary-shadow);
  background: var(--button-secondary-background-fill);
}
#save-kind { flex: 0 1 84px; }
#average { flex: 1 1 150px; min-width: 150px !important; }
#average input, #save-kind input { font-size: var(--button-small-text-size); }
#actions { gap: 6px; }
#actions .row { gap: 6px; align-items: center; }
#actions button { white-space: nowrap; padding-inline: 6px; flex: 1 1 auto; }
/* The handle between before and after lies below the face. */
#pictures [data-testid="slider"] .icon-wrap { top: 92% !important; }
#pictures.comparing img.fixed { visibility: hidden; }
.gallery-container .grid-wrap { background: none; }
/* The names of looks leave the faces to be seen. */
#look-cards .caption-label {
  font-size: 0.72em; line-height: 1.2; padding: 1px 5px; right: 3px; bottom: 3px;
}
/* A slider's name has the width that it needs, and its number no more than it needs. */
.attribute-slider .head { align-items: center; flex-wrap: nowrap; min-height: 1.9em; }
.attribute-slider .head label { flex: 1; min-width: 0; }
.attribute-slider .head [data-testid="block-info"] {
  display: block; margin: 0; padding: 0; background: none; font-size: 0.92em; line-height: 1.2;
}
.attribute-slider .head .tab-like-container { flex: none; align-self: center; margin: 0; }
.attribute-slider .head input[type="number"] { width: 3.6em; padding: 2px 4px; }
/* On a telephone the picture stays in sight while the sliders below it are moved. */
@media (max-width: 700px) {
  #sliders { max-height: none; }
  #picture-column { display: contents; }
  .attribute-slider { scroll-margin: 380px 0 140px; }
  #actions .row { flex-wrap: nowrap; gap: 4px; }
  #actions button { min-width: 0 !important; padding-inline: 3px; font-size: 0.8em; }
  #save-kind { flex: 0 0 76px; min-width: 76px !important; }
}
@media (max-width: 700px) and (min-height: 640px) {
  #pictures { position: sticky; top: 0; z-index: 999; background: var(--body-background-fill); }
  #actions {
    position: sticky; bottom: 0; z-index: 999; order: 1; padding: 6px 0;
    background: var(--body-background-fill);
  }
}
/* Where there is room, the picture stays while the sliders are gone through. */
@media (min-width: 1000px) { #picture-column { position: sticky; top: 0; align-self: start; } }
#pictures.passing { opacity: 0.3; }
#actions [inert] { opacity: 0.5; }
/* The pictures' places are as high before the first picture as after. */
#result, #whole, #raw { min-height: min(340px, calc(100vw - 64px)); }
/* So are those of the examples, which come after the page. */
#examples { min-height: 200px; }
@media (min-width: 701px) and (max-width: 1100px) { #examples { min-height: 290px; } }
.small-note { font-size: 0.92em; }
.tabs button[role=tab].selected { color: var(--primary-800) !important; }
.dark .tabs button[role=tab].selected { color: var(--primary-300) !important; }
.gradio-container .min_value, .gradio-container .max_value, footer .show-api {
  color: var(--body-text-color) !important;
}
"""

# A slider moved by the arrow keys is let go when the key is, and a number is taken at Enter: Gradio
# knows of pointers only, and takes a number when its box is left. While *Hold to compare* is held,
# by pointer or key, the picture is seen unedited. Ctrl+Z undoes.
HEAD = """
<script>
const comparing = (on) => document.querySelector("#pictures")?.classList.toggle("comparing", on);
const onCompare = (event) => event.target.closest?.("#compare");
document.addEventListener("pointerdown", (event) => onCompare(event) && comparing(true));
for (const ended of ["pointerup", "pointercancel", "blur"]) {
  window.addEventListener(ended, () => comparing(false));
}
document.addEventListener("keydown", (event) => {
  if (onCompare(event) && [" ", "Enter"].includes(event.key)) comparing(true);
  if (event.key === "Enter" && event.target.matches?.("input[type=number]")) event.target.blur();
  const writes = event.target.matches?.("textarea, input:not([type=range]):not([type=radio])");
  if (!(event.ctrlKey || event.metaKey) || writes) return;
  const key = event.key.toLowerCase(), redo = key === "y" || (key === "z" && event.shiftKey);
  if (key !== "z" && !redo) return;
  const button = document.querySelector(redo ? "#redo" : "#undo");
  if (button?.offsetParent && !button.disabled) { button.click(); event.preventDefault(); }
});
document.addEventListener("keyup", () => comparing(false));
// A result stands back from when another photograph is there until it has one of its own.
let photo, result;
const follow = () => {
  const [photoNow, resultNow] = ["photo", "result"].map(
    (id) => document.querySelector(`#${id} img`)?.src
  );
  if (photoNow !== photo || resultNow !== result) {  // else the class would be a change again
    const passing = document.querySelector("#pictures")?.classList;
    if (resultNow === undefined) passing?.remove("passing");
    else if (photoNow !== photo) passing?.add("passing");
  }
  [photo, result] = [photoNow, resultNow];
};
// What is saved, copied or edited further is the newest edit, and not one before it.
const wait = () => {
  const told = document.querySelector("#status")?.innerText ?? "";
  const waiting = /^(Waiting for the model|Step \\d|Finishing)/.test(told.trim());
  for (const id of ["save-photo", "save-face", "save-preset", "copy-photo", "edit-further"]) {
    const button = document.querySelector(`#${id}`);
    if (button && button.inert !== waiting) button.inert = waiting;
  }
};
// What is told is read out, and pictures to choose by have names.
new MutationObserver(() => {
  follow();
  wait();
  for (const status of document.querySelectorAll("[id$=status]:not([aria-live])")) {
    status.setAttribute("role", "status");
    status.setAttribute("aria-live", "polite");
  }
  for (const image of document.querySelectorAll(".gallery-item img[alt='']")) {
    image.alt = decodeURIComponent(image.src.split("/").pop()).replace(/^\\d+-|\\.\\w+$/g, "")
      .replace(/-/g, " ");
  }
  // The menu of the tabs that a telephone has no room for knows of no disabled ones.
  for (const menu of document.querySelectorAll(".overflow-menu")) {
    const row = menu.closest(".tabs"), entries = [...menu.querySelectorAll("button[class]")]
      .filter((entry) => entry.closest(".overflow-dropdown"));
    for (const entry of entries) {
      const name = entry.textContent.trim().toLowerCase().replace(/ /g, "-");
      entry.style.display = row.classList.contains(`without-${name}`) ? "none" : "";
    }
    menu.style.display = entries.every((entry) => entry.style.display) ? "none" : "";
  }
}).observe(document, {
  childList: true, subtree: true, characterData: true, attributeFilter: ["class", "src"]
});
document.addEventListener("keyup", (event) => {
  const moves = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp",
    "PageDown"];
  if (event.target.type === "range" && moves.includes(event.key)) {
    event.target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
  }
});
</script>
"""
