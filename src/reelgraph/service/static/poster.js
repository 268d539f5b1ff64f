/** Posters: generated from genres and year, always the same for a movie, or pictures that the server fetches. */

import { ROOT } from "./api.js";
import { h, s } from "./dom.js";

/** @typedef {import("./format.js").Movie} Movie */
/** @typedef {() => number} Chance random numbers in [0, 1) */

/**
 * Hue and motifs of each MovieLens genre; those of other genres derive from their names.
 * @type {Record<string, [number, ...(keyof typeof MOTIFS)[]]>}
 */
const GENRES = {
  Action: [14, "bars", "shards", "chevrons"],
  Adventure: [160, "peaks", "sun", "waves"],
  Animation: [190, "dots", "confetti", "arcs"],
  Children: [44, "confetti", "dots", "sun"],
  Comedy: [36, "arcs", "confetti", "pair"],
  Crime: [350, "blinds", "shards", "blocks"],
  Documentary: [205, "blocks", "sun", "rings"],
  Drama: [224, "sun", "stage", "pair"],
  Fantasy: [268, "moon", "peaks", "rings"],
  "Film-Noir": [230, "blinds", "stage", "shards"],
  Horror: [355, "spikes", "moon", "stage"],
  Musical: [320, "waves", "stage", "confetti"],
  Mystery: [250, "rings", "stage", "moon"],
  Romance: [338, "pair", "waves", "sun"],
  "Sci-Fi": [196, "rings", "orbits", "blocks"],
  Thriller: [178, "shards", "bars", "rings"],
  War: [88, "chevrons", "bars", "sun"],
  Western: [26, "sun", "peaks", "bars"],
};

/** A random generator seeded by a text (mulberry32 over an FNV-1a hash). @param {string} text @returns {Chance} */
function chanceOf(text) {
  let seed = 0x811c9dc5;
  for (const sign of text) seed = Math.imul(seed ^ (sign.codePointAt(0) ?? 0), 0x01000193);
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const circle = (/** @type {number} */ cx, /** @type {number} */ cy, /** @type {number} */ r, tone = "mid") =>
  s("circle", { cx, cy, r, class: tone });
const path = (/** @type {string} */ d, tone = "mid") => s("path", { d, class: tone });
const range = (/** @type {number} */ n) => Array.from({ length: n }, (_, place) => place);

/** Shapes on a 200 by 250 canvas. @satisfies {Record<string, (chance: Chance) => SVGElement[]>} */
const MOTIFS = {
  sun: (chance) => {
    const x = 60 + 80 * chance();
    const horizon = 140 + 30 * chance();
    const lines = range(4).map((n) => path(`M0 ${horizon + 14 + n * n * 6 + n * 12}H200`, "line"));
    return [
      circle(x, horizon - 30 * chance(), 46 + 16 * chance(), "high"),
      path(`M0 ${horizon}H200V250H0z`, "deep"),
      ...lines,
    ];
  },
  rings: (chance) => {
    const x = 30 + 140 * chance();
    const y = 50 + 70 * chance();
    const rings = range(5).map((n) => circle(x, y, 34 + n * 26, "line"));
    const turn = 6.28 * chance();
    return [...rings, circle(x, y, 20, "high"), circle(x + 86 * Math.cos(turn), y + 86 * Math.sin(turn), 8, "high")];
  },
  bars: (chance) => {
    const lean = 30 + 60 * chance();
    return range(4).map((n) => {
      const x = -60 + n * 62 + 20 * chance();
      const wide = 14 + 24 * chance();
      return path(`M${x} 250L${x + lean + 60} 0h${wide}L${x + wide} 250z`, n % 2 ? "high" : "mid");
    });
  },
  arcs: (chance) => {
    const x = 50 + 100 * chance();
    const y = 120 + 40 * chance();
    const turn = chance() < 0.5 ? 1 : 0;
    return range(4).map((n) => {
      const r = 92 - 22 * n;
      return path(`M${x - r} ${y}a${r} ${r} 0 0 ${turn} ${2 * r} 0z`, n % 2 ? "high" : "mid");
    });
  },
  stage: (chance) => {
    const x = 50 + 100 * chance();
    const wide = 50 + 20 * chance();
    return [
      path(`M${x - 12} 0L${x - wide} 186H${x + wide}L${x + 12} 0z`),
      s("ellipse", { cx: x, cy: 186, rx: wide, ry: 15, class: "high" }),
      circle(x, 120, 24, "deep"),
      path(`M${x - 30} 186q0 -42 30 -42t30 42z`, "deep"),
    ];
  },
  shards: (chance) => {
    const x = 60 + 80 * chance();
    const y = 60 + 70 * chance();
    return range(7).map((n) => {
      const turn = 0.9 * n + 0.5 * chance();
      const far = 340;
      const open = 0.08 + 0.16 * chance();
      const at = (/** @type {number} */ angle) => `${x + far * Math.cos(angle)} ${y + far * Math.sin(angle)}`;
      return path(`M${x} ${y}L${at(turn)}L${at(turn + open)}z`, n % 3 === 0 ? "high" : "mid");
    });
  },
  confetti: (chance) =>
    range(16).map((n) => {
      const x = 20 + 160 * chance();
      const y = 14 + 170 * chance();
      const size = 6 + 15 * chance();
      const tone = n % 3 ? "mid" : "high";
      return n % 2 ? circle(x, y, size, tone) : path(`M${x} ${y - size}l${size} ${size * 1.6}h${-2 * size}z`, tone);
    }),
  orbits: (chance) => {
    const x = 70 + 60 * chance();
    const y = 86 + 30 * chance();
    const tilt = -40 + 80 * chance();
    const rings = range(3).map((n) =>
      s("ellipse", {
        cx: x,
        cy: y,
        rx: 62 + 34 * n,
        ry: 16 + 12 * n,
        class: "line",
        transform: `rotate(${tilt} ${x} ${y})`,
      }),
    );
    return [
      circle(x, y, 38, "high"),
      ...rings,
      circle(x + 62 * Math.cos(tilt / 57.3), y + 62 * Math.sin(tilt / 57.3), 9, "high"),
    ];
  },
  peaks: (chance) =>
    range(3).map((n) => {
      const x = 20 + 80 * n - 20 * chance();
      const top = 50 + 30 * n + 30 * chance();
      return path(`M${x - 110} 250L${x} ${top}L${x + 110} 250z`, ["high", "mid", "deep"][n]);
    }),
  pair: (chance) => {
    const r = 46 + 10 * chance();
    const y = 84 + 24 * chance();
    const apart = 26 + 8 * chance();
    return [circle(100 - apart, y, r, "high"), circle(100 + apart, y + 12 * chance(), r, "glass")];
  },
  dots: (chance) => {
    const grow = chance() < 0.5;
    return range(30).map((n) => {
      const column = n % 5;
      const row = Math.floor(n / 5);
      const size = 3 + 2.6 * (grow ? row : 5 - row);
      return circle(24 + column * 38, 24 + row * 34, size, chance() < 0.25 ? "high" : "mid");
    });
  },
  spikes: (chance) =>
    range(9).map((n) => {
      const x = n * 24 - 6;
      const tip = 40 + 110 * chance();
      return path(`M${x} 0L${x + 14 + 10 * chance()} ${tip}L${x + 30} 0z`, n % 3 === 1 ? "high" : "mid");
    }),
  blinds: (chance) => {
    const x = 40 + 100 * chance();
    const bars = range(8).map((n) => path(`M0 ${16 + n * 26}h200v${4 + n * 1.6}h-200z`, "mid"));
    return [circle(x, 80 + 30 * chance(), 48, "high"), ...bars];
  },
  moon: (chance) => {
    const x = 70 + 60 * chance();
    const stars = range(9).map(() => circle(200 * chance(), 160 * chance(), 1.5 + 2 * chance(), "high"));
    return [...stars, path(`M${x} 40a48 48 0 1 0 40 74a40 40 0 0 1 -40 -74z`, "high")];
  },
  blocks: (chance) =>
    range(20).flatMap((n) => {
      const tone = chance();
      const x = (n % 4) * 50;
      const y = Math.floor(n / 4) * 50;
      return tone < 0.45 ? [] : [path(`M${x + 2} ${y + 2}h46v46h-46z`, tone > 0.85 ? "high" : "mid")];
    }),
  waves: (chance) =>
    range(5).map((n) => {
      const y = 40 + n * 34;
      const tall = 16 + 18 * chance();
      return path(
        `M-10 ${y}q30 ${-tall} 60 0t60 0t60 0t60 0v14q-30 ${tall} -60 0t-60 0t-60 0t-60 0z`,
        n % 2 ? "high" : "mid",
      );
    }),
  chevrons: (chance) => {
    const x = 60 + 80 * chance();
    return range(4).map((n) =>
      path(`M${x - 160} ${94 + n * 44}l160 -74l160 74v18l-160 -74l-160 74z`, n === 1 ? "high" : "mid"),
    );
  },
};

/** @param {string} genre @param {Chance} chance @returns {[number, keyof typeof MOTIFS]} */
function lookOf(genre, chance) {
  const known = Object.hasOwn(GENRES, genre) ? GENRES[genre] : null;
  const [hue, ...motifs] = known ?? [
    360 * chanceOf(genre)(),
    .../** @type {(keyof typeof MOTIFS)[]} */ (Object.keys(MOTIFS)),
  ];
  return [hue, motifs[Math.floor(motifs.length * chance())]];
}

/** Whether the server has pictures. */
let pictures = false;

/** @param {boolean} has */
export function usePictures(has) {
  pictures = has;
}

/** The picture of a movie, which replaces the generated poster once it is there. @param {Movie} movie @param {HTMLElement} element */
function picture(movie, element) {
  return h("img", {
    class: "poster-picture",
    src: `${ROOT}posters/${encodeURIComponent(movie.movie_id)}`,
    alt: "",
    loading: "lazy",
    decoding: "async",
    onload: () => element.dispatchEvent(new Event("picture", { bubbles: true })),
    onerror: (/** @type {Event} */ event) => /** @type {Element} */ (event.target).remove(),
  });
}

/**
 * A movie's poster, hidden from screen readers because the title is next to it.
 * @param {Movie} movie
 * @param {"large" | "small"} [size] small ones name the year only
 */
export function poster(movie, size = "large") {
  const { genres } = movie;
  const chance = chanceOf(`${movie.movie_id} ${movie.title}`);
  const [hue, motif] = lookOf(genres[0] ?? movie.movie_id, chance);
  const second = genres[1] ? lookOf(genres[1], chance)[0] : hue + 26;
  const words = [];
  if (size === "small") words.push(s("text", { x: 100, y: 230, class: "year", text: movie.year ?? "" }));
  else {
    const both = genres.slice(0, 2).join(" \u00b7 ");
    words.push(s("text", { x: 14, y: 30, class: "year", text: movie.year ?? "" }));
    words.push(s("text", { x: 14, y: movie.year ? 50 : 30, class: "genre", text: both.length > 22 ? genres[0] : both }));
  }
  const art = s(
    "svg",
    { viewBox: "0 0 200 250", preserveAspectRatio: "xMidYMid slice" },
    ...MOTIFS[motif](chance),
    ...words,
  );
  const element = h("div", { class: `poster ${size}`, "aria-hidden": "true" }, art);
  if (pictures && movie.tmdb_id) element.append(picture(movie, element));
  element.style.setProperty("--hue", String(hue + 22 * (chance() - 0.5)));
  element.style.setProperty("--second", String(second + 22 * (chance() - 0.5)));
  return element;
}
