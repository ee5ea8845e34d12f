/**
 * The scale on which scores and the threshold are drawn. Scores other than probabilities have no
 * fixed range, so the scale grows with what has been seen; it never shrinks under the user's hand.
 */

import { rejectsNothing } from "./js/contract.js";

const DECIMALS = 4;

/**
 * @param {{low: number, high: number} | null} scale so far
 * @param {import("./js/contract.js").Contract} contract
 * @param {number[]} scores that must be on it
 * @returns {{low: number, high: number, step: number}}
 */
export function widen(scale, contract, scores) {
  const points = rejectsNothing(contract.threshold) ? scores : [contract.threshold, ...scores];
  if (scale && points.every((p) => p >= scale.low && p <= scale.high)) {
    return scale;
  }
  let low = points.length ? Math.min(...points) : 0;
  let high = points.length ? Math.max(...points) : 1;
  const room = Math.max((high - low) / 4, Math.abs(high) / 4, 1e-3);
  low = Math.min(scale?.low ?? Infinity, low - room);
  high = Math.max(scale?.high ?? -Infinity, high + room);
  if (contract.score === "max_softmax") {
    low = Math.max(0, low);
    high = Math.min(1, high);
  }
  const step = 10 ** Math.floor(Math.log10((high - low) / 200));
  return { low: Math.floor(low / step) * step, high: Math.ceil(high / step) * step, step };
}

/** Where a value lies on the scale, 0..1. */
export function share({ low, high }, value) {
  return Math.min(1, Math.max(0, (value - low) / (high - low)));
}

/** A score or a threshold for people. */
export function shown(value) {
  if (rejectsNothing(value)) {
    return "−∞";
  }
  const size = Math.abs(value);
  const plain = size === 0 || (size >= 1e-3 && size < 1e5);
  return (plain ? value.toFixed(DECIMALS) : value.toExponential(3)).replace("-", "−");
}

/** A probability for people. */
export function percent(value) {
  return `${(100 * value).toFixed(1)} %`;
}
