/** QR codes (ISO/IEC 18004) of short texts: bytes, error correction level L, versions 1 to 20, mask 0. */

import { s } from "./dom.js";

// For each version, at level L: error correction bytes in a block, and the number of blocks.
const CHECKS = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28];
const BLOCKS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8];

/** Modules for data in a symbol. @param {number} version */
function room(version) {
  const marks = version < 2 ? 0 : Math.floor(version / 7) + 2;
  const patterns = version < 2 ? 0 : (25 * marks - 10) * marks - 55 + (version < 7 ? 0 : 36);
  return (16 * version + 128) * version + 64 - patterns;
}

/** Bytes of data at level L. @param {number} version */
const bytesOf = (version) => Math.floor(room(version) / 8) - CHECKS[version - 1] * BLOCKS[version - 1];

/** Product in the field of 256 elements modulo x^8 + x^4 + x^3 + x^2 + 1. @param {number} a @param {number} b */
function times(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) product = ((product << 1) ^ ((product >>> 7) * 0x11d)) ^ (((b >>> bit) & 1) * a);
  return product;
}

/** Reed-Solomon error correction bytes. @param {number[]} data @param {number} count */
function checksOf(data, count) {
  const divisor = Array(count).fill(0);
  divisor[count - 1] = 1;
  let root = 1;
  for (let n = 0; n < count; n += 1) {
    for (let place = 0; place < count; place += 1)
      divisor[place] = times(divisor[place], root) ^ (place + 1 < count ? divisor[place + 1] : 0);
    root = times(root, 2);
  }
  const rest = Array(count).fill(0);
  for (const byte of data) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    divisor.forEach((part, place) => {
      rest[place] ^= times(part, factor);
    });
  }
  return rest;
}

/** The bytes of a symbol: length, text, padding and error correction, interleaved. @param {Uint8Array} text @param {number} version */
function codewords(text, version) {
  const bits = [];
  const put = (/** @type {number} */ value, /** @type {number} */ count) => {
    for (let bit = count - 1; bit >= 0; bit -= 1) bits.push((value >>> bit) & 1);
  };
  put(4, 4); // bytes
  put(text.length, version < 10 ? 8 : 16);
  for (const byte of text) put(byte, 8);
  const size = bytesOf(version);
  put(0, Math.min(4, 8 * size - bits.length));
  put(0, (8 - (bits.length % 8)) % 8);
  for (let pad = 0xec; bits.length < 8 * size; pad ^= 0xec ^ 0x11) put(pad, 8);
  const data = Array.from({ length: size }, (_, n) => bits.slice(8 * n, 8 * n + 8).reduce((sum, bit) => 2 * sum + bit, 0));
  const count = BLOCKS[version - 1];
  const short = Math.floor(size / count);
  const longer = count - (size % count); // blocks before it are one byte shorter
  const blocks = [];
  for (let n = 0, at = 0; n < count; n += 1) {
    const end = at + short + (n >= longer ? 1 : 0);
    blocks.push(data.slice(at, end));
    at = end;
  }
  const checks = blocks.map((block) => checksOf(block, CHECKS[version - 1]));
  const woven = (/** @type {number[][]} */ parts) =>
    Array.from({ length: Math.max(...parts.map((part) => part.length)) }, (_, n) => parts.flatMap((part) => part[n] ?? [])).flat();
  return [...woven(blocks), ...woven(checks)];
}

/** Coordinates of the alignment marks. @param {number} version */
function marksOf(version) {
  if (version < 2) return [];
  const count = Math.floor(version / 7) + 2;
  const step = Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4)) * 2;
  return [6, ...Array.from({ length: count - 1 }, (_, n) => version * 4 + 10 - n * step).reverse()];
}

/** Remainder of the error-correcting code of format or version. @param {number} value @param {number} length @param {number} code */
function protectedBits(value, length, code) {
  let rest = value;
  for (let n = 0; n < length; n += 1) rest = (rest << 1) ^ ((rest >>> (length - 1)) * code);
  return (value << length) | rest;
}

/**
 * The modules of a text's symbol, dark ones true; null if it is too long.
 * @param {string} text
 * @returns {boolean[][] | null}
 */
export function modulesOf(text) {
  const bytes = new TextEncoder().encode(text);
  const version = CHECKS.findIndex((_, n) => bytes.length + (n + 1 < 10 ? 2 : 3) <= bytesOf(n + 1)) + 1;
  if (!version) return null;
  const size = 17 + 4 * version;
  /** @type {(boolean | null)[][]} null is free for data */
  const grid = Array.from({ length: size }, () => Array(size).fill(null));
  const ring = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ reach, /** @type {number[]} */ light) => {
    for (let dy = -reach; dy <= reach; dy += 1)
      for (let dx = -reach; dx <= reach; dx += 1)
        if (grid[y + dy]?.[x + dx] !== undefined) grid[y + dy][x + dx] = !light.includes(Math.max(Math.abs(dx), Math.abs(dy)));
  };
  for (let n = 0; n < size; n += 1) grid[6][n] = grid[n][6] = n % 2 === 0;
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) ring(x, y, 4, [2, 4]);
  const marks = marksOf(version);
  const [first, last] = [marks[0], marks[marks.length - 1]];
  for (const y of marks)
    for (const x of marks) if (!((x === first && y === first) || (x === first && y === last) || (x === last && y === first))) ring(x, y, 2, [1]);
  const format = protectedBits(8, 10, 0x537) ^ 0x5412; // level L, mask 0
  for (let n = 0; n < 15; n += 1) {
    const dark = ((format >>> n) & 1) === 1;
    grid[n < 6 ? n : n < 8 ? n + 1 : size - 15 + n][8] = dark;
    grid[8][n < 8 ? size - 1 - n : n === 8 ? 7 : 14 - n] = dark;
  }
  grid[size - 8][8] = true;
  if (version >= 7) {
    const number = protectedBits(version, 12, 0x1f25);
    for (let n = 0; n < 18; n += 1) {
      const [far, near] = [size - 11 + (n % 3), Math.floor(n / 3)];
      grid[far][near] = grid[near][far] = ((number >>> n) & 1) === 1;
    }
  }
  const data = codewords(bytes, version);
  let at = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1) {
      const y = ((right + 1) & 2) === 0 ? size - 1 - step : step;
      for (const x of [right, right - 1]) {
        if (grid[y][x] !== null) continue;
        const bit = ((data[at >>> 3] ?? 0) >>> (7 - (at & 7))) & 1;
        grid[y][x] = (bit === 1) !== ((x + y) % 2 === 0);
        at += 1;
      }
    }
  }
  return /** @type {boolean[][]} */ (grid);
}

/** A picture of a text's QR code, or null if it is too long. @param {string} text @param {string} label */
export function qrCode(text, label) {
  const grid = modulesOf(text);
  if (!grid) return null;
  const d = grid.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + 4} ${y + 4}h1v1h-1z` : ""))).join("");
  const size = grid.length + 8;
  return s(
    "svg",
    { class: "qr", viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label, "shape-rendering": "crispEdges" },
    s("rect", { width: size, height: size, fill: "#fff" }),
    s("path", { d, fill: "#000" }),
  );
}
