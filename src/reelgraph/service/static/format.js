/** Formats titles, numbers and stars. */

/** @typedef {{movie_id: string, title: string | null, year: number | null, genres: string[],
 *   imdb_id?: string | null, tmdb_id?: string | null}} Movie */
/** @typedef {{low: number, high: number, step: number | null}} Scale */

const ARTICLE = /^(.+), (The|An?|L[eao]s?|L'|Il|I|Gli|Une?|Un[oa]|El|Der|Die|Das|Den|Eine?|De|Het|Os?|As|Det|En)$/;

/** "Matrix, The" becomes "The Matrix". @param {string} title */
function inOrder(title) {
  const found = ARTICLE.exec(title.trim());
  return found ? `${found[2]}${found[2].endsWith("'") ? "" : " "}${found[1]}` : title.trim();
}

/**
 * A movie's title in natural order, and its other titles, which data sets give in brackets.
 * @param {Movie} movie
 * @returns {{title: string, others: string[]}}
 */
export function titlesOf(movie) {
  const year = movie.year === null ? "" : `(${movie.year})`; // Some data sets repeat it in the title.
  const given = movie.title ?? movie.movie_id;
  const whole = year && given.endsWith(year) && given !== year ? given.slice(0, -year.length).trimEnd() : given;
  const start = whole.search(/ \(/);
  if (start < 1) return { title: inOrder(whole), others: [] };
  const others = [...whole.slice(start).matchAll(/\(([^()]+)\)/g)].map((found) =>
    inOrder(found[1].replace(/^a\.?k\.?a\.? /i, "")),
  );
  return { title: inOrder(whole.slice(0, start)), others };
}

/** @param {Movie} movie */
export function titleOf(movie) {
  return titlesOf(movie).title;
}

/** "1999 · Action, Sci-Fi". @param {Movie} movie @param {number} [most] genres shown */
export function factsOf(movie, most = 2) {
  return [movie.year, movie.genres.slice(0, most).join(", ")].filter(Boolean).join(" · ");
}

/** A number of people, movies or ratings. @param {number} number */
export function count(number) {
  return number.toLocaleString("en");
}

/** "1 rating", "5 ratings". @param {number} number @param {string} word */
export function counted(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** A prediction with one decimal, or none on long scales. @param {number} value @param {Scale} scale */
export function value(value, scale) {
  return value.toFixed(scale.high - scale.low > 20 ? 0 : 1);
}

/** Whether a rating is one of the scale; without a scale, 1 is a like. @param {number} stars @param {Scale | null} scale */
export function fits(stars, scale) {
  return scale === null ? stars === 1 : stars >= scale.low && stars <= scale.high;
}

/** What a visitor gives. @param {Scale | null} scale */
export function given(scale) {
  return scale === null ? "like" : "rating";
}

/** A rating as given: 4, 4.5. @param {number} stars */
export function exact(stars) {
  return String(Math.round(stars * 100) / 100);
}

/** A number with its sign; a zero has none. @param {number} part @param {number} [digits] */
export function signed(part, digits = 2) {
  const text = Math.abs(part).toFixed(digits);
  return Number(text) === 0 ? text : `${part > 0 ? "+" : "−"}${text}`;
}

/**
 * Parts with two decimals that sum to the rounded total. As `rounded` in recommend/explain.py: the parts nearest to the
 * next hundredth are rounded there, and preferably none that would then be 0.00.
 * @param {number[]} parts
 * @param {number} total
 */
export function rounded(parts, total) {
  const cents = parts.map((part) => Math.round(100 * part));
  const missing = Math.round(100 * Number(total.toFixed(2))) - cents.reduce((sum, cent) => sum + cent, 0);
  const step = Math.sign(missing);
  /** @param {number} place */
  const gain = (place) => step * (100 * parts[place] - cents[place]) - (cents[place] === -step ? 1 : 0);
  const order = parts.map((_, place) => place).sort((one, other) => gain(other) - gain(one));
  for (const place of order.slice(0, Math.abs(missing))) cents[place] += step;
  return cents.map((cent) => cent / 100);
}

/** "4.5 of 5 stars". @param {number} stars @param {Scale} scale */
export function spoken(stars, scale) {
  return `${exact(stars)} of ${exact(scale.high)} stars`;
}

/** The share of the row of stars that a value fills, 0 to 1. @param {number} stars @param {Scale} scale */
export function shareOf(stars, scale) {
  const from = scale.low >= 0 ? 0 : scale.low;
  return Math.min(1, Math.max(0, (stars - from) / (scale.high - from)));
}

/** A number with fixed digits, or a dash for none. @param {number | null | undefined} number @param {number} digits */
export function fixed(number, digits) {
  if (number === null || number === undefined) return "–";
  const rounded = Number(number.toFixed(digits)) || 0; // never -0
  return rounded.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** @param {number} share @param {number} [digits] */
export function percent(share, digits = 0) {
  return `${fixed(100 * share, digits)} %`;
}

/** The day of an ISO time. @param {string | null} time */
export function date(time) {
  return time ? time.slice(0, 10) : "on an unknown date";
}
