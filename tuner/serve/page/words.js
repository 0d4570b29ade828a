// Numbers and names of the API in, words for people out. Seconds are milliseconds on screens only.

const LATENCIES = { ttft: ["TTFT", 1], tpot: ["TPOT", 2], itl: ["ITL", 2], e2el: ["E2E latency", 0] };
const METRICS = {
  output_throughput: ["Output throughput", "tok/s", 1, 1, 1],
  total_token_throughput: ["Total throughput", "tok/s", 1, 1, 1],
  request_throughput: ["Requests", "req/s", 1, 2, 1],
  goodput: ["Goodput", "req/s", 1, 2, 1],
  gpu_utilization: ["GPU", "%", 100, 0, 0],
  gpu_memory_used_bytes: ["GPU memory", "GiB", 1 / 1024 ** 3, 1, 0],
  gpu_power_w: ["GPU power", "W", 1, 0, 0],
  gpu_energy_per_1k_tokens_j: ["Energy per 1,000 tokens", "J", 1, 1, -1],
  cost_per_million_output_tokens: ["Cost of 1M output tokens", "", 1, 4, -1],
  kv_cache_tokens: ["KV cache", "tok", 1, 0, 0],
  server_kv_cache_usage_max: ["KV cache used at most", "%", 100, 0, 0],
  server_running_mean: ["Running", "requests", 1, 1, 0],
  server_waiting_mean: ["Waiting", "requests", 1, 1, 0],
  server_preemptions: ["Preemptions", "", 1, 0, 0],
  startup_s: ["Start-up", "s", 1, 1, -1],
  window_s: ["Window", "s", 1, 1, 0],
  completed: ["Requests completed", "", 1, 0, 0],
  failed: ["Requests failed", "", 1, 0, 0],
};
const FORMATS = new Map();

/** What a metric is called, its unit, factor, decimals, and whether more (1) or less (-1) is better. */
export function metric(name) {
  if (METRICS[name]) {
    const [label, unit, factor, decimals, better] = METRICS[name];
    return { label, unit, factor, decimals, better };
  }
  const latency = /^(ttft|tpot|itl|e2el)_(\w+)_s$/.exec(name);
  if (latency) {
    const [label, decimals] = LATENCIES[latency[1]];
    return { label: `${label} ${latency[2]}`, unit: "ms", factor: 1000, decimals, better: -1 };
  }
  return { label: name.replaceAll("_", " "), unit: "", factor: 1, decimals: null, better: 0 };
}

export function number(value, decimals) {
  const key = decimals ?? -1;
  if (!FORMATS.has(key)) {
    const exact = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    FORMATS.set(
      key,
      new Intl.NumberFormat(
        "en-US",
        decimals === null || decimals === undefined ? { maximumSignificantDigits: 5 } : exact,
      ),
    );
  }
  return FORMATS.get(key).format(value);
}

/** The number alone, for a column whose head has the unit; a dash for what is not known. */
export function plain(name, value) {
  if (typeof value !== "number") return value === null || value === undefined ? "–" : String(value);
  const { factor, decimals } = metric(name);
  return number(value * factor, decimals);
}

export function withUnit(name, value) {
  if (typeof value !== "number") return plain(name, value);
  const { unit } = metric(name);
  return `${plain(name, value)}${unit === "%" ? " %" : unit ? ` ${unit}` : ""}`;
}

export function head(name) {
  const { label, unit } = metric(name);
  return [label, unit];
}

export const percent = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${number(Math.abs(share) * 100, 1)} %`;

/** A setting's value as vLLM's command line would have it. */
export function setting(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function when(text) {
  const date = new Date(text);
  return Number.isNaN(date.valueOf()) ? String(text ?? "–") : WHEN.format(date);
}

export const STATES = {
  queued: "Queued",
  running: "Running",
  paused: "Paused",
  finished: "Finished",
  failed: "Failed",
  cancelled: "Cancelled",
  idle: "Idle",
};

export const stateWord = (state) => STATES[state] ?? String(state);

/** Whether something may still come of a study without a new request. */
export const isActive = (state) => state === "queued" || state === "running" || state === "paused";

const OBJECTIVES = {
  throughput: "output_throughput",
  requests: "request_throughput",
  goodput: "goodput",
  cost: "cost_per_million_output_tokens",
  energy: "gpu_energy_per_1k_tokens_j",
};

/** The metric of an objective as a user names it: `ttft_p99` is `ttft_p99_s`. */
export function objectiveMetric(objective) {
  return OBJECTIVES[objective] ?? `${objective.replace(/^e2e_/, "e2el_")}_s`;
}

export const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

/** Answers that recommend the trial that they are about; any other keeps vLLM's defaults, or nothing. */
const RECOMMENDS = new Set(["better", "meets the SLOs", "a trade-off", "not verified"]);

export function recommendedTrial({ verdict }) {
  return verdict && RECOMMENDS.has(verdict.answer) ? verdict.trial : null;
}

/** The gain of what was found to be better; one that is no more than noise is not shown as a number. */
export function provenGain(verdict) {
  return verdict.answer === "better" && typeof verdict.gain === "number" ? verdict.gain : null;
}
