// Prints decisions at several scores and thresholds as JSON.
import { decide, rejectsNothing } from "../../../export/js/contract.js";

const lowest = -3.4028234663852886e38;
console.log(
  JSON.stringify([
    decide(0.5, [0.1, 0.6, 0.3], 0.5),
    decide(0.49, [0.1, 0.6, 0.3], 0.5),
    decide(Math.fround(0.1), [0.5, 0.5], 0.1),
    decide(NaN, [0.2, 0.8], lowest),
    decide(-1e30, [1], lowest),
    rejectsNothing(lowest),
    rejectsNothing(-1e38),
  ]),
);
