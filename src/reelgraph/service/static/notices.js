/** What the page tells besides its content: notices, words for screen readers, the banner of a server away. */

import { byId, h, icon } from "./dom.js";

const STAY = 9000; // ms that a notice stays

/** Words for screen readers only. @param {string} text */
export function say(text) {
  byId("said").textContent = text;
}

/**
 * A notice at the bottom of the page, perhaps with something to do about it.
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
    timer = setTimeout(close, STAY);
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
    h(
      "button",
      { type: "button", class: "notice-close", "aria-label": "Close this notice", onclick: close },
      icon("close"),
    ),
  );
  while (box.children.length > 1) box.firstChild.remove();
  box.append(element);
  wait();
}

/** Shows and takes away the banner while the server is away. @param {import("./api.js").Api} api */
export function watchServer(api) {
  const banner = byId("banner");
  const words = byId("banner-words");
  const button = byId("banner-look");
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let ticking;
  button.append(icon("retry"), "Try now");
  button.addEventListener("click", () => {
    words.textContent = "Looking for the server\u2026";
    api.look();
  });
  api.addEventListener("down", (event) => {
    const until = performance.now() + /** @type {CustomEvent} */ (event).detail.wait;
    const tell = () => {
      const left = Math.max(1, Math.ceil((until - performance.now()) / 1000));
      byId("banner-wait").textContent = `Trying again in ${left} s.`;
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
    notice("Connected again.");
  });
}
