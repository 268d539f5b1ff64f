/** Starts the page and connects its parts. */

import { Asking } from "./asking.js";
import { Api } from "./api.js";
import { byId, icon } from "./dom.js";
import { Filters } from "./filters.js";
import { count, counted } from "./format.js";
import { drawHero } from "./hero.js";
import { Import } from "./imports.js";
import { Keeping } from "./keeping.js";
import { List } from "./list.js";
import { watchServer } from "./notices.js";
import { Search } from "./search.js";
import { Share } from "./share.js";
import { Sheet } from "./sheet.js";
import { Shelf } from "./shelf.js";
import { Visitor } from "./state.js";
import { usePictures } from "./poster.js";
import { themeButton } from "./themes.js";
import { Together } from "./together.js";

/**
 * The catalogue, once the server is there.
 * @param {Api} api
 * @returns {Promise<import("./api.js").Catalogue>}
 */
async function catalogueOf(api) {
  for (;;) {
    const back = new Promise((done) => api.addEventListener("up", done, { once: true }));
    try {
      return await api.catalogue();
    } catch {
      byId("list").replaceChildren();
      byId("list-state").replaceChildren(byId("away").content.cloneNode(true));
      await (api.away ? back : new Promise((done) => setTimeout(done, 5000)));
    }
  }
}

/** @param {import("./api.js").Catalogue} catalogue */
function facts(catalogue) {
  const { movies, ratings, users, scale } = catalogue;
  const trained = scale ? `${counted(ratings, "rating")} by` : `what ${count(ratings)} times was liked or viewed by`;
  byId("catalogue-facts").textContent = `${counted(movies, "movie")}, trained on ${trained} ${count(users)} people.`;
}

/** Turns the words about stars into words about likes, which the page holds as well. */
function withoutStars() {
  drawHero(byId("hero-picture"), false);
  for (const option of document.querySelectorAll("[data-stars]")) option.remove();
  for (const element of document.querySelectorAll("[data-likes]"))
    element.textContent = element.getAttribute("data-likes");
}

async function start() {
  // The address changes with each movie that is opened, and would change where relative links lead.
  for (const link of document.querySelectorAll("a[href]:not([href^='#']), link[rel=icon]"))
    /** @type {HTMLAnchorElement} */ (link).href = /** @type {HTMLAnchorElement} */ (link).href;
  const api = new Api();
  themeButton(byId("theme"));
  for (const button of document.querySelectorAll("[data-share]")) button.prepend(icon("share"));
  for (const button of document.querySelectorAll("[data-import]")) button.prepend(icon("import"));
  watchServer(api);
  const asked = catalogueOf(api);
  drawHero(byId("hero-picture")); // while the catalogue loads
  const catalogue = await asked;
  byId("list-state").replaceChildren();
  usePictures(catalogue.posters);
  byId("from-tmdb").hidden = !catalogue.posters;
  if (catalogue.scale === null) withoutStars();
  const visitor = new Visitor(catalogue.scale === null ? "likes" : "stars");
  /** @type {import("./card.js").Page} */
  const page = {
    scale: catalogue.scale,
    movies: catalogue.movies,
    visitor,
    open: (movie, view) => sheet.open(movie, view),
  };
  const sheet = new Sheet(api, page);
  const filters = new Filters(visitor);
  const shelf = new Shelf(page);
  filters.offer(catalogue);
  facts(catalogue);
  const keeping = new Keeping(api, page, catalogue.keep);
  const together = new Together(api, page, () => keeping.user);
  const list = new List(api, page, filters, together, (unknown) => shelf.mark(unknown));
  new Asking(api, page);
  new Search(api, page);
  new Import(api, page);
  const share = new Share(api, page);
  together.restore();
  list.refresh();
  await Promise.all([keeping.restore().then(() => share.restore()), sheet.restore()]);
}

start();
