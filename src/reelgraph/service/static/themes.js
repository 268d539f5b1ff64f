/** The light and dark mode switch; the system decides until the visitor does. */

import { icon } from "./dom.js";

const KEY = "reelgraph.theme"; // theme.js reads it before the first paint

/** @param {HTMLButtonElement} button */
export function themeButton(button) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : dark.matches;
  };
  const show = () => {
    const words = isDark() ? "Switch to light mode" : "Switch to dark mode";
    button.replaceChildren(icon(isDark() ? "sun" : "moon"));
    button.setAttribute("aria-label", words);
    button.title = words;
  };
  button.addEventListener("click", () => {
    const chosen = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    try {
      localStorage.setItem(KEY, chosen);
    } catch {
      // Without storage the choice lasts until the page closes.
    }
    show();
  });
  dark.addEventListener("change", show);
  show();
}
