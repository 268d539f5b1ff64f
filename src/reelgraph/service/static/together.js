/** Watching together: one list for the visitor and people who have shared a link or its QR code. */

import { inWords, ROOT } from "./api.js";
import { byId, h, icon } from "./dom.js";
import { counted, given as kind } from "./format.js";
import { notice } from "./notices.js";
import { qrCode } from "./qr.js";
import { copyText, fromFragment, toFragment } from "./share.js";

const KEY = "reelgraph.together";
const MOST = 7; // people besides the visitor
const LONGEST = 600; // characters of a link that a phone still reads well as a QR code

/** Someone to watch with: a token for ratings that the server keeps, or the ratings themselves.
 * @typedef {{name: string, share?: string, ratings?: Record<string, number>}} Other */

/** @param {any} other @returns {Other | null} */
function otherOf(other) {
  if (typeof other?.name !== "string") return null;
  const name = other.name.trim().slice(0, 40) || "Guest";
  if (typeof other.share === "string") return { name, share: other.share.slice(0, 300) };
  return other.ratings && typeof other.ratings === "object" ? { name, ratings: other.ratings } : null;
}

/** Dispatches "change" when people come or go, or the strategy changes. */
export class Together extends EventTarget {
  /** @param {import("./api.js").Api} api @param {import("./card.js").Page} page @param {() => string | null} user whose ratings the server keeps */
  constructor(api, page, user) {
    super();
    this.api = api;
    this.page = page;
    this.user = user;
    /** @type {Other[]} */
    this.others = [];
    /** @type {HTMLDialogElement} */
    this.dialog = byId("together-sheet");
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.strategy = byId("together-strategy");
    this.strategy.addEventListener("change", () => this.dispatchEvent(new Event("change")));
    byId("together-open").prepend(icon("people"));
    byId("together-open").addEventListener("click", () => this.#open());
    byId("together-stop").addEventListener("click", () => this.#set([]));
    addEventListener("hashchange", (event) => this.restore(new URL(event.newURL).hash));
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
      this.others = (Array.isArray(kept) ? kept : []).flatMap((other) => otherOf(other) ?? []).slice(0, MOST);
    } catch {
      this.others = []; // Damaged or blocked storage counts as empty.
    }
    this.#show();
  }

  /** What a request for a list adds. */
  toJson() {
    return this.others.length ? { together: this.others, strategy: this.strategy.value } : {};
  }

  /** Adds the person of a link: `#with=NAME&share=TOKEN` or `#with=NAME&ratings=...`. @param {string} fragment */
  restore(fragment = location.hash) {
    const values = new URLSearchParams(fragment.replace(/^#/, ""));
    const name = values.get("with");
    if (name === null) return;
    history.replaceState(history.state, "", location.href.split("#")[0]);
    const given = fromFragment(`ratings=${values.get("ratings") ?? ""}`, this.page.scale);
    const other = otherOf({ name, share: values.get("share") ?? undefined, ratings: given.size ? Object.fromEntries(given) : undefined });
    if (!other) return notice("This link has nobody to watch with.");
    const same = (/** @type {Other} */ each) => each.name === other.name || (other.share && each.share === other.share);
    this.#set([...this.others.filter((each) => !same(each)), other].slice(-MOST));
    notice(`${other.name} watches with you.`);
  }

  /** The server's list was refused: the people cannot be found any more. @param {unknown} error */
  refuse(error) {
    if (!this.others.length) return false;
    notice(`The list together could not be made: ${inWords(error)}`);
    this.#set([]);
    return true;
  }

  /** @param {Other[]} others */
  #set(others) {
    this.others = others;
    try {
      sessionStorage.setItem(KEY, JSON.stringify(others));
    } catch {
      // Without storage they are there until the page closes.
    }
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  #show() {
    byId("together").hidden = !this.others.length;
    byId("together-people").replaceChildren(
      ...this.others.map((other) =>
        h("li", { class: "hidden-row" }, other.name,
          h("button", { type: "button", class: "quiet", "aria-label": `Watch without ${other.name}`, onclick: () => this.#set(this.others.filter((each) => each !== other)) }, icon("close")),
        ),
      ),
    );
  }

  /** A link that adds the visitor to the list of whoever opens it. @param {string} name */
  async #link(name) {
    const start = `${ROOT}#with=${encodeURIComponent(name)}`;
    if (this.user()) return `${start}&share=${encodeURIComponent((await this.api.share()).share)}`;
    return `${start}&${toFragment(this.page.visitor.toJson(this.page.scale))}`;
  }

  #open() {
    const number = this.page.visitor.ratings.size;
    const word = kind(this.page.scale);
    const name = h("input", { class: "together-name", maxlength: 40, value: "Me", "aria-label": "Your name in the list", autocomplete: "nickname" });
    const made = h("div", { class: "together-made" });
    const make = async () => {
      try {
        const link = await this.#link(name.value.trim() || "Guest");
        const field = h("input", { readonly: true, value: link, id: "together-link", "aria-label": "Link to watch together", onfocus: () => field.select() });
        const code = link.length <= LONGEST && qrCode(link, "QR code of the link");
        made.replaceChildren(
          h("div", { class: "share-row" }, field, h("button", { type: "button", class: "button", onclick: () => copyText(link, field).then(() => notice("Link copied.")) }, icon("copy"), "Copy link")),
          ...(code ? [code] : []),
        );
      } catch (error) {
        made.replaceChildren(h("p", { class: "hint", text: inWords(error) }));
      }
    };
    const kept = this.user() ? `It shows them ${this.page.scale ? "the stars predicted for you, not your ratings" : "none of your likes"}, and works for a week.` : `It contains your ${counted(number, word)}.`;
    const close = () => this.dialog.close();
    this.dialog.replaceChildren(
      h("div", { class: "sheet-inside" },
        h("div", { class: "sheet-tools" }, h("button", { type: "button", class: "round", "aria-label": "Close", onclick: close }, icon("close"))),
        h("h2", { id: "together-title", text: "Watch together" }),
        ...(number
          ? [
              h("p", { text: `Whoever opens your link gets one list for all of you, without what you have ${this.page.scale ? "rated" : "liked"}. ${kept}` }),
              h("div", { class: "share-row" }, name, h("button", { type: "button", class: "button", onclick: make }, "Make my link")),
              made,
            ]
          : [h("p", { text: `Open the link of someone who wants to watch with you, or ${this.page.scale ? "rate" : "like"} some movies to make your own.` })]),
      ),
    );
    if (!this.dialog.open) this.dialog.showModal();
  }
}
