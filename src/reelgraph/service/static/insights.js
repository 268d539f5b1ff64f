/** The /insights page: loads the facts, fills its sections, and compares two models' lists for one user. */

import { curvePanels, errorPanels, leaderboard, learningRounds, listPanels, opening } from "./sections.js";
import { reasonPanels, tuningPanel } from "./sections.js";
import {
  coldPanels,
  coldSummary,
  dataPanels,
  dataSummary,
  errorsSummary,
  listsSummary,
  testedSplit,
} from "./sections.js";
import { panel, table } from "./charts.js";
import { byId, h } from "./dom.js";
import { counted, date, factsOf, fixed, titleOf } from "./format.js";
import { themeButton } from "./themes.js";

/** A page written by `reelgraph report` carries its facts with it and has no server. */
const embedded = document.getElementById("facts");

/** @param {string} text */
const empty = (text) => h("p", { class: "none", text });

/** @param {string} path */
async function load(path) {
  const response = await fetch(path);
  if (response.ok) return response.json();
  const error = (await response.json().catch(() => null))?.error;
  throw Object.assign(new Error(error?.message ?? `The server answered with status ${response.status}.`), {
    code: error?.code,
  });
}

/** Fills a section. @param {string} name @param {any} lead text or nodes @param {HTMLElement[]} panels */
function fill(name, lead, panels) {
  if (lead) byId(`${name}-lead`).replaceChildren(...[lead].flat());
  byId(`${name}-panels`).replaceChildren(...panels);
}

/** @param {any} facts */
function show(facts) {
  const { about, tiles } = opening(facts);
  byId("about").textContent = about;
  byId("tiles").replaceChildren(...tiles);
  fill("data", dataSummary(facts.data), dataPanels(facts.data));
  const curves = curvePanels(facts.history);
  fill("training", null, [
    ...(curves.length ? curves : [empty("The model has no training history.")]),
    ...tuningPanel(facts.tuning),
  ]);
  if (!facts.data.scale) byId("errors").textContent = "Measures of lists";
  fill("errors", errorsSummary(facts), errorPanels(facts));
  fill("lists", listsSummary(facts), listPanels(facts));
  const reasons = reasonPanels(facts);
  fill(
    "reasons",
    reasons.length
      ? "How reliable explanations and similar movies are, measured on the data."
      : "These checks need test ratings.",
    reasons,
  );
  if (facts.cold) fill("cold", coldSummary(facts.cold), coldPanels(facts.cold));
  else byId("cold-section").remove();
}

/** One model's list. @param {string} title @param {any} side @param {boolean} two */
function sideOf(title, side, two) {
  const about = `Made ${date(side.artifact.created)}, id ${side.artifact.id.slice(0, 12)}`;
  if (!side.known) return panel(title, h("p", { text: about }), empty("This model does not know this user."));
  const elsewhere = (/** @type {any} */ row) =>
    row.elsewhere === null ? "–" : h("span", { class: "badge", text: row.elsewhere });
  const columns = [
    { title: "Rank", cell: (row) => row.rank },
    {
      title: "Movie",
      kind: "words",
      cell: (row) => [titleOf(row), h("small", { class: "none", text: ` ${factsOf(row)}` })],
    },
    side.movies.some((/** @type {any} */ row) => row.prediction === null)
      ? { title: "Score", cell: (row) => fixed(row.score, 2) }
      : { title: "Stars", cell: (row) => fixed(row.prediction, 2) },
    ...(two ? [{ title: "Rank in the other", cell: elsewhere }] : []),
  ];
  const lead = h("p", { text: `${about}; ${counted(side.ratings, "rating")} by this user.` });
  return panel(title, lead, table(title, columns, side.movies));
}

/** @param {SubmitEvent} event */
async function compare(event) {
  event.preventDefault();
  const user = byId("user").value.trim();
  const said = byId("compare-said");
  if (!user) return;
  try {
    const found = await load(`api/insights/compare?${new URLSearchParams({ user, k: byId("k").value })}`);
    const two = found.shared !== null;
    const length = two ? Math.min(found.serving.movies.length, found.other.movies.length) : 0;
    said.textContent = two ? `User ${user}: ${found.shared} of ${length} movies are in both lists.` : `User ${user}.`;
    const sides = [sideOf("Serving model", found.serving, two)];
    if (found.other) sides.push(sideOf("Second model", found.other, two));
    byId("compare-lists").replaceChildren(...sides);
  } catch (error) {
    byId("compare-lists").replaceChildren();
    said.textContent = error.code === "unknown_id" ? `User ${user} is not in the training data.` : error.message;
  }
}

/** @param {any} other the second model, or null */
function offerCompare(other) {
  byId("ask").addEventListener("submit", compare);
  if (!other) {
    const command = h("code", { text: "reelgraph serve … --compare DIR" });
    byId("compare-lead").replaceChildren(
      "Movies recommended to a user of the training data. To compare with a second model: ",
      command,
      ".",
    );
    return;
  }
  const [split, errors] = testedSplit(other);
  const { rmse, ndcg } = errors.model ?? {};
  const measure = rmse === undefined ? `nDCG@10 ${fixed(ndcg, 4)}` : `RMSE ${fixed(rmse, 4)}`;
  const error = errors.model ? ` (${split} ${measure})` : "";
  byId("compare-lead").textContent =
    "Movies recommended to a user of the training data, by the serving model and " +
    `by a ${other.kind} model made ${date(other.artifact.created)}${error}.`;
}

/** Takes away what needs a server. */
function detach() {
  for (const element of document.querySelectorAll("[data-live]")) element.remove();
  byId("home").removeAttribute("href");
  byId("origin").textContent = "Written by reelgraph report. This file needs no server and no network.";
}

/** Links to the sections that are on the page. */
function listContents() {
  const headings = [...document.querySelectorAll("#sections h2")];
  byId("contents").replaceChildren(
    ...headings.map((heading) => h("a", { href: `#${heading.id}`, text: heading.textContent })),
  );
}

async function start() {
  themeButton(byId("theme"));
  if (embedded) detach();
  try {
    const facts = embedded ? JSON.parse(embedded.textContent ?? "") : await load("api/insights");
    show(facts);
    if (!embedded) {
      offerCompare(facts.other);
      fill("leaderboard", ...leaderboard(facts.leaderboard));
      fill("learning", ...learningRounds(facts.learning));
    }
    listContents();
    byId("sections").hidden = byId("contents").hidden = false;
  } catch (error) {
    if (embedded) throw error;
    const retry = h("button", { type: "button", class: "button", text: "Try again", onclick: () => location.reload() });
    const message = error.code ? error.message : "The server cannot be reached.";
    byId("about").textContent = "";
    byId("state").replaceChildren(
      h("div", { class: "state" }, h("h2", { text: "Nothing to show yet" }), h("p", { text: message }), retry),
    );
  }
}

start();
