/** Notices, screen reader announcements, and the banner for an unreachable server. */

import { byId, h, icon } from "./dom.js";

const DURATION = 9000; // of a notice, in ms

/** Announces a text to screen readers. @param {string} text */
export function say(text) {
  byId("said").textContent = text;
}

/**
 * Shows a notice at the bottom of the page, with an optional action.
 * @param {string} text
 * @param {{label: string, run: () => void}} [action]
 */
export function notice(text, action) {
  const box = byId("notices");
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const close = () => {
    clearTimeout(timer);
    element.remove();
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(close, DURATION);
  };
  const button =
    action &&
    h("button", {
      type: "button",
      class: "notice-action",
      text: action.label,
      onclick: () => {
        close();
        action.run();
      },
    });
  const element = h(
    "div",
    {
      class: "notice",
      onpointerenter: () => clearTimeout(timer),
      onpointerleave: wait,
      onfocusin: () => clearTimeout(timer),
      onfocusout: wait,
    },
    h("span", { text }),
    button,
    h("button", { type: "button", class: "notice-close", "aria-label": "Dismiss", onclick: close }, icon("close")),
  );
  while (box.children.length > 1) box.firstChild.remove();
  box.append(element);
  wait();
}

/** Shows the banner while the server is unreachable. @param {import("./api.js").Api} api */
export function watchServer(api) {
  const banner = byId("banner");
  const words = byId("banner-words");
  const button = byId("banner-look");
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let ticking;
  button.append(icon("retry"), "Retry now");
  button.addEventListener("click", () => {
    words.textContent = "Connecting\u2026";
    api.look();
  });
  api.addEventListener("down", (event) => {
    const until = performance.now() + /** @type {CustomEvent} */ (event).detail.wait;
    const tell = () => {
      const left = Math.max(1, Math.ceil((until - performance.now()) / 1000));
      byId("banner-wait").textContent = `Retrying in ${left} s.`;
    };
    words.textContent = "The server can\u2019t be reached. Your ratings are safe in this browser.";
    banner.hidden = false;
    clearInterval(ticking);
    ticking = setInterval(tell, 500);
    tell();
  });
  api.addEventListener("up", () => {
    clearInterval(ticking);
    if (banner.contains(document.activeElement)) byId("list").focus({ preventScroll: true });
    banner.hidden = true;
    notice("Back online.");
  });
}
