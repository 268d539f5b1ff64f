/** Light or dark: what the system prefers, until the visitor chooses. */

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
    const words = isDark() ? "Use light colours" : "Use dark colours";
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
      // It holds for this visit then.
    }
    show();
  });
  dark.addEventListener("change", show);
  show();
}
