// Whether a difference of means is more than the noise of seeds: the test of the section on what each row changes.

const LEVEL = 0.05;
const MARKS = { certain: "●", likely: "○" };
const MEANINGS = {
  certain: "●: more than the noise of seeds (paired t test, 5 %, after Holm's correction).",
  likely: "○: only without the correction.",
  unclear: "Grey: not told from the noise of seeds.",
  "one seed": "Grey where there is one seed: its noise is not known.",
};

/** Seed -> value of an entry; empty for a single seed. */
function seedsOf(cell) {
  return new Map((cell.dataset.seeds ?? "").split(" ").filter(Boolean).map((each) => each.split(":").map(Number)));
}

/** Mean and standard deviation (ddof = 1) of at least two values. */
function moments(values) {
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  const squares = values.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  return [mean, Math.sqrt(squares / (values.length - 1))];
}

/** Two-sided p value of Student's t with a whole number of degrees of freedom (Abramowitz and Stegun, 26.7.3 f.). */
function studentP(t, freedom) {
  const angle = Math.atan(Math.abs(t) / Math.sqrt(freedom));
  const [sine, cosine] = [Math.sin(angle), Math.cos(angle)];
  const odd = freedom % 2;
  let [sum, term] = [0, odd ? cosine : 1];
  for (let k = odd; k < freedom - 1; k += 2) {
    sum += term;
    term *= (cosine ** 2 * (k + 1)) / (k + 2);
  }
  return 1 - (odd ? ((angle + sine * sum) * 2) / Math.PI : sine * sum);
}

/** p value of a paired t test over the seeds of both entries; null with the reason if there is no noise to hold against. */
function pairedP(cell, base) {
  const others = seedsOf(base);
  const common = [...seedsOf(cell)].filter(([seed]) => others.has(seed));
  const changes = common.map(([seed, value]) => value - others.get(seed));
  if (changes.length < 2) return { finding: "one seed", p: null };
  const [mean, spread] = moments(changes);
  const error = spread / Math.sqrt(changes.length);
  return error < 1e-12 ? { finding: "alike", p: null } : { p: studentP(mean / error, changes.length - 1) };
}

/** Holm's adjusted p values, in the order given. */
function holm(values) {
  const order = values.map((_, at) => at).sort((a, b) => values[a] - values[b]);
  const adjusted = [];
  let largest = 0;
  order.forEach((at, place) => {
    largest = Math.max(largest, Math.min(1, (values.length - place) * values[at]));
    adjusted[at] = largest;
  });
  return adjusted;
}

/**
 * Entry -> what can be said of its difference to `base`, corrected for all of these entries: "certain", "likely" (only
 * without the correction), "unclear", "alike" (the same for every seed: there is no noise) or "one seed".
 */
function findings(cells, base) {
  const tests = cells.map((cell) => pairedP(cell, base));
  const tested = tests.filter((each) => each.p !== null);
  const adjusted = holm(tested.map((each) => each.p));
  tested.forEach((each, at) => {
    each.finding = adjusted[at] < LEVEL ? "certain" : each.p < LEVEL ? "likely" : "unclear";
  });
  return new Map(cells.map((cell, at) => [cell, tests[at].finding]));
}
