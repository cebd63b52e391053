// Draws the charts of a report from the JSON in #data, and answers pointer and keys.
//
// Sections: 1 data, 2 scales, 3 drawing, 4 legend, 5 read-out, 6 moving about, 7 start.
// All times inside are numbers of ticks from the start; text from documents only ever becomes textContent.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);

  // The theme works even where there is nothing to draw.
  const theme = byId("theme");
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.hidden = false;
  nameTheme();
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
  if (!data.ticks) return;

  // ---- 1 Data ------------------------------------------------------------------------------------------------

  const summed = (differences) => {
    let sum = 0;
    return differences.map((difference) => (sum += difference));
  };
  // Columns of a series by bucket, in its own unit; NaN where it is not known.
  const column = ({ mean, min, max }, unit) => {
    const known = (values) => summed(values).map((value) => (value < 0 ? NaN : value / unit));
    const means = known(mean);
    return { mean: means, min: min.length ? known(min) : means, max: max.length ? known(max) : means };
  };
  // Change points: the ticks, and the values that hold from them on.
  const changes = (pairs) => {
    const found = { ticks: [], values: [] };
    let tick = 0;
    for (let at = 0; at < pairs.length; at += 2) {
      found.ticks.push((tick += pairs[at]));
      found.values.push(pairs[at + 1]);
    }
    return found;
  };
  const stretches = (pairs) => {
    const found = [];
    let end = 0;
    for (let at = 0; at < pairs.length; at += 2) {
      const from = end + pairs[at];
      found.push([from, (end = from + pairs[at + 1])]);
    }
    return found;
  };

  const gpus = data.gpus_per_node;
  const demand = column(data.demand, 1000);
  const busy = column(data.busy, 100);
  const asked = changes(data.asked);
  const ready = changes(data.ready);
  const would = changes(data.would);
  const bands = {
    saturated: stretches(data.saturated),
    unknown: stretches(data.unknown),
    censored: stretches(data.censored),
  };
  let tickOfEvent = 0;
  const events = data.events.map(([since, from, to, says]) => ({ tick: (tickOfEvent += since), from, to, says }));
  const resizes = events.filter((event) => event.from !== event.to);
  // A shortened sentence is a place in the table and its numbers; see phrases.rs.
  const whole = (short) => {
    const [place, ...numbers] = short.split(" ");
    return data.phrases[place].replace(/\ufffc/g, () => numbers.shift());
  };
  const sentences = (event) => event.says.split(";").map(whole);

  // Money if there is a price, else node-hours; at the end of each bucket.
  const hoursPerTick = data.step_ms / 3.6e6;
  const price = data.price ?? 1;
  const money = data.price === null ? "node-hours" : "USD";
  const running = (differences) => {
    let sum = 0;
    return [0, ...summed(differences).map((ticks) => (sum += ticks) * hoursPerTick * price)];
  };
  const costs = running(data.asked_sums);
  const wouldCosts = data.would_sums.length ? running(data.would_sums) : null;

  // The last place in rising `ticks` that is not after `tick`; -1 if all are.
  const placeOf = (ticks, tick) => {
    let [low, high] = [0, ticks.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ticks[middle] <= tick) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  };
  const eventTicks = events.map((event) => event.tick);
  const resizeTicks = resizes.map((event) => event.tick);
  const valueAt = (steps, tick) => steps.values[placeOf(steps.ticks, tick)];
  const costAt = (sums, tick) => {
    const at = Math.min(Math.max(tick / data.per_bucket, 0), sums.length - 1);
    const before = Math.floor(at);
    const after = Math.min(before + 1, sums.length - 1);
    // The last bucket may hold fewer ticks than the others.
    const length = Math.min(data.per_bucket, data.ticks - before * data.per_bucket) || 1;
    return sums[before] + (sums[after] - sums[before]) * Math.min((tick - before * data.per_bucket) / length, 1);
  };
  const within = (spans, tick) => {
    const at = placeOf(spans.map((span) => span[0]), tick);
    return at >= 0 && tick < spans[at][1];
  };

  // ---- 2 Scales ----------------------------------------------------------------------------------------------

  const minute = 60000, hour = 60 * minute, day = 24 * hour;
  const view = { from: 0, to: data.ticks };
  const shortest = Math.min(20, data.ticks);
  const hidden = new Set();
  const plot = byId("plot");
  const margin = { left: 52, right: 14 };
  let width = 0;
  const inner = () => width - margin.left - margin.right;
  const x = (tick) => margin.left + ((tick - view.from) / (view.to - view.from)) * inner();
  const tickAt = (px) => view.from + ((px - margin.left) / inner()) * (view.to - view.from);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  const timeOf = (tick) => new Date(data.start_ms + tick * data.step_ms);
  const format = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
  const dayFormat = format({ day: "numeric", month: "short" });
  const longFormat = format({ weekday: "short", day: "numeric", month: "short", year: "numeric" });
  const clock = (date, withSeconds) => date.toISOString().slice(11, withSeconds ? 19 : 16);
  const moment = (tick, withSeconds = data.step_ms % minute !== 0) =>
    `${longFormat.format(timeOf(tick))} ${clock(timeOf(tick), withSeconds)}`;
  const length = (ticks) => {
    const minutes = (ticks * data.step_ms) / 60000;
    if (minutes >= 2880) return `${+(minutes / 1440).toFixed(1)} days`;
    if (minutes >= 120) return `${+(minutes / 60).toFixed(1)} hours`;
    return `${+minutes.toFixed(1)} minutes`;
  };
  const number = (value, decimals = 2) =>
    Number.isFinite(value) ? value.toLocaleString("en-US", { maximumFractionDigits: decimals }) : "–";
  // A number on an axis whose lines are `step` apart.
  const onAxis = (value, step) => {
    const [unit, letter] = Math.abs(value) >= 1e6 && step >= 1e4 ? [1e6, "M"] : Math.abs(value) >= 1e4 && step >= 100 ? [1e3, "k"] : [1, ""];
    return number(value / unit, clamp(Math.ceil(-Math.log10(step / unit)), 0, 4)).replace("-", "−") + letter;
  };

  const niceSteps = (low, high, count) => {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(at * step);
    return found;
  };
  const timeSteps = [1e3, 5e3, 15e3, 30e3, minute, 2 * minute, 5 * minute, 10 * minute, 15 * minute, 30 * minute,
    hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour, day, 2 * day, 3 * day, 7 * day, 14 * day, 28 * day, 91 * day, 364 * day];
  const timeTicks = () => {
    const span = (view.to - view.from) * data.step_ms;
    const wanted = (span / inner()) * 78;
    const step = timeSteps.find((candidate) => candidate >= wanted) ?? timeSteps.at(-1);
    const origin = step >= 7 * day ? 4 * day : 0; // 1 January 1970 was a Thursday; weeks begin on Monday
    const [from, to] = [timeOf(view.from).getTime(), timeOf(view.to).getTime()];
    const found = [];
    for (let at = Math.ceil((from - origin) / step) * step + origin; at <= to; at += step) found.push(at);
    return { step, found };
  };

  // ---- 3 Drawing ---------------------------------------------------------------------------------------------

  const svg = (name, attributes, parent, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  // The same in HTML. Text is only ever text.
  const node = (name, text, parent, className) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    parent.append(element);
    return element;
  };
  const hatch = (parent, id, kind, angle) => {
    const size = { width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${angle})` };
    const pattern = svg("pattern", { id, ...size }, parent);
    svg("line", { x1: 0, y1: 0, x2: 0, y2: 6, class: `${kind}-line`, "stroke-width": 2.4 }, pattern);
  };

  // A panel: where it is, its scale, and its name above it.
  const panel = (name, top, height, [low, high], unit) => {
    const y = (value) => top + height - ((clamp(value, low - (high - low), high + (high - low)) - low) / (high - low || 1)) * height;
    return { name, top, height, low, high, y, unit };
  };
  const frame = (root, { name, top, height, low, high, y }, marks) => {
    const lines = marks ?? niceSteps(low, high, Math.max(3, Math.floor(height / 42)));
    const step = lines.length > 1 ? lines[1] - lines[0] : 1;
    for (const value of lines) {
      const at = Math.round(y(value)) + 0.5;
      svg("line", { x1: margin.left, x2: width - margin.right, y1: at, y2: at, class: "grid" }, root);
      svg("text", { x: margin.left - 7, y: at + 3.5, "text-anchor": "end" }, root, onAxis(value, step));
    }
    svg("text", { x: 2, y: top - 9, class: "panel" }, root, name);
    svg("line", { x1: margin.left, x2: width - margin.right, y1: top + height + 0.5, y2: top + height + 0.5, class: "axis" }, root);
  };

  // Buckets in view, several to a pixel joined, each as [first tick, last tick, least, mean, most].
  const pieces = (series) => {
    const per = data.per_bucket;
    const first = clamp(Math.floor(view.from / per), 0, series.mean.length - 1);
    const last = clamp(Math.ceil(view.to / per), first + 1, series.mean.length);
    const group = Math.max(1, Math.floor((last - first) / inner()));
    const found = [];
    for (let at = first; at < last; at += group) {
      const end = Math.min(at + group, last);
      let [least, most, sum, count] = [Infinity, -Infinity, 0, 0];
      for (let bucket = at; bucket < end; bucket += 1) {
        if (Number.isNaN(series.mean[bucket])) continue;
        least = Math.min(least, series.min[bucket]);
        most = Math.max(most, series.max[bucket]);
        sum += series.mean[bucket];
        count += 1;
      }
      if (count) found.push([at * per, Math.min(end * per, data.ticks), least, sum / count, most]);
      else found.push(null);
    }
    return found;
  };
  const fixed = (value) => value.toFixed(1);
  const drawSeries = (root, series, { y }, name) => {
    const all = pieces(series);
    let [line, open] = ["", false];
    for (const piece of all) {
      if (!piece) { open = false; continue; }
      const [from, to, , mean] = piece;
      line += `${open ? "V" : `M${fixed(x(from))} `}${fixed(y(mean))}H${fixed(x(to))}`;
      open = true;
    }
    // One closed shape per run of known pieces: along the most, and back along the least.
    let [shape, there, back] = ["", "", ""];
    for (const piece of [...all, null]) {
      if (!piece) {
        if (there) shape += `M${there.slice(1)}${back}Z`;
        [there, back] = ["", ""];
        continue;
      }
      const [from, to, least, , most] = piece;
      there += `L${fixed(x(from))} ${fixed(y(most))}L${fixed(x(to))} ${fixed(y(most))}`;
      back = `L${fixed(x(to))} ${fixed(y(least))}L${fixed(x(from))} ${fixed(y(least))}${back}`;
    }
    svg("path", { d: shape, class: `${name}-band` }, root);
    svg("path", { d: line, class: `stroke ${name}`, "data-series": name }, root);
  };
  const drawSteps = (root, steps, { y }, name, fill) => {
    const first = Math.max(placeOf(steps.ticks, view.from), 0);
    const last = placeOf(steps.ticks, view.to);
    let path = "";
    for (let at = first; at <= last; at += 1) {
      const from = Math.max(steps.ticks[at], view.from);
      const to = Math.min(steps.ticks[at + 1] ?? data.ticks, view.to);
      path += `${path ? "V" : `M${fixed(x(from))} `}${fixed(y(steps.values[at] * gpus))}H${fixed(x(to))}`;
    }
    if (!path) return;
    if (fill) svg("path", { d: `${path}V${fixed(y(0))}H${fixed(x(Math.max(view.from, steps.ticks[0])))}Z`, class: fill }, root);
    svg("path", { d: path, class: `stroke ${name}`, "data-series": name }, root);
  };
  // Level lines, whose labels keep clear of each other; those above the panel are only named.
  const drawLevels = (root, { y, top, height, low, high }, levels, side = "end") => {
    const px = side === "end" ? width - margin.right - 4 : margin.left + 4;
    let free = top + 2;
    for (const { value, kind, label } of levels.filter((level) => level.value >= low).sort((a, b) => b.value - a.value)) {
      const at = y(value);
      if (value > high) {
        svg("text", { x: px, y: free + 9, "text-anchor": side, class: "label" }, root, `↑ ${label}`);
        free += 15;
        continue;
      }
      svg("line", { x1: margin.left, x2: width - margin.right, y1: at, y2: at, class: `stroke ${kind}`, "data-series": kind }, root);
      const place = clamp(Math.max(at - 5, free + 9), top + 9, top + height - 3);
      free = place + 5;
      svg("text", { x: px, y: place, "text-anchor": side, class: "label" }, root, label);
    }
  };
  const drawBands = (root, panels) => {
    for (const kind in bands) {
      if (hidden.has(kind)) continue;
      // Neighbours closer than a pixel are one: thousands of slivers look like nothing and cost a second.
      const drawn = [];
      for (const [from, to] of bands[kind]) {
        if (to < view.from || from > view.to) continue;
        const [left, right] = [x(Math.max(from, view.from)), Math.max(x(Math.min(to, view.to)), x(Math.max(from, view.from)) + 1)];
        const before = drawn.at(-1);
        if (before && left - before[1] < 0.5) before[1] = Math.max(before[1], right);
        else drawn.push([left, right]);
      }
      for (const { top, height } of panels) {
        const boxes = (from, to, depth) => `M${fixed(from)} ${top}H${fixed(to)}v${fixed(depth)}H${fixed(from)}Z`;
        const d = drawn.map(([from, to]) => boxes(from, to, height)).join("");
        if (d) svg("path", { d, class: kind, "data-series": kind }, root);
        // A strip along the top, so that slivers can be seen without shading the whole chart.
        if (d) svg("path", { d: drawn.map(([from, to]) => boxes(from, to, 5)).join(""), class: `${kind}-strip` }, root);
      }
    }
  };

  // Resizes as bars from a middle line, nodes added upwards; with arrow heads where there is room.
  const drawResizes = (root, top, height) => {
    const [first, last] = [placeOf(resizeTicks, view.from - 1) + 1, placeOf(resizeTicks, view.to)];
    const bins = new Map();
    for (const { tick, from, to } of resizes.slice(first, last + 1)) {
      const bin = Math.round(x(tick + 0.5) / 3);
      const sums = bins.get(bin) ?? [0, 0];
      sums[to > from ? 0 : 1] += Math.abs(to - from);
      bins.set(bin, sums);
    }
    const most = Math.max(1, ...[...bins.values()].flat());
    const middle = top + height / 2;
    const heads = bins.size * 9 < inner();
    let [grew, shrank] = ["", ""];
    for (const [bin, [added, removed]] of bins) {
      const at = fixed(bin * 3);
      const reach = (nodes) => 2 + (nodes / most) * (height / 2 - 3);
      const head = (end, towards) => (heads ? `M${at} ${fixed(end)}l-4 ${towards * 6}h8Z` : "");
      if (added) grew += `M${+at - 1} ${middle}h2V${fixed(middle - reach(added))}h-2Z${head(middle - reach(added) - 2, 1)}`;
      if (removed) shrank += `M${+at - 1} ${middle}h2V${fixed(middle + reach(removed))}h-2Z${head(middle + reach(removed) + 2, -1)}`;
    }
    const scale = panel("Resizes, nodes", top, height, [-most, most]);
    frame(root, scale, most > 1 ? [-most, 0, most] : [0]);
    if (!hidden.has("resizes")) {
      svg("path", { d: grew, class: "grew", "data-series": "grew" }, root);
      svg("path", { d: shrank, class: "shrank", "data-series": "shrank" }, root);
    }
  };
  const drawTimes = (root, top, bottom) => {
    const { step, found } = timeTicks();
    for (const at of found) {
      const px = Math.round(x((at - data.start_ms) / data.step_ms)) + 0.5;
      const isDay = at % day === 0;
      svg("line", { x1: px, x2: px, y1: top, y2: bottom, class: "grid" }, root);
      const label = isDay ? dayFormat.format(at) : clock(new Date(at), step < minute);
      const anchor = px > width - 24 ? "end" : "middle";
      svg("text", { x: px, y: bottom + 17, "text-anchor": anchor, class: isDay ? "day" : "time" }, root, label);
    }
  };

  const most = (series) => pieces(series).reduce((found, piece) => Math.max(found, piece ? piece[4] : 0), 0);
  const mostNodes = (steps) => {
    const first = Math.max(placeOf(steps.ticks, view.from), 0);
    return steps.values.slice(first, placeOf(steps.ticks, view.to) + 1).reduce((a, b) => Math.max(a, b), 0);
  };
  const gpuPanel = (top, height) => {
    const series = [["demand", () => most(demand)], ["asked", () => mostNodes(asked) * gpus],
      ["ready", () => mostNodes(ready) * gpus], ["would", () => mostNodes(would) * gpus]];
    const needed = Math.max(gpus, ...series.map(([name, of]) => (hidden.has(name) ? 0 : of())));
    const bound = data.max_nodes * gpus;
    return panel("GPUs", top, height, [0, (bound >= needed && bound < needed * 1.35 && !hidden.has("bounds") ? bound : needed) * 1.06]);
  };
  const costPanel = (top, height) => {
    const all = [costAt(costs, view.from), costAt(costs, view.to)];
    if (wouldCosts) all.push(costAt(wouldCosts, view.from), costAt(wouldCosts, view.to));
    const low = view.from > 0 ? Math.min(...all) : 0;
    let high = Math.max(...all, low + price * hoursPerTick);
    if (view.to >= data.ticks && !hidden.has("references")) {
      for (const [, final] of data.references) if (final < high * 1.6) high = Math.max(high, final);
    }
    return panel(`Cost so far, ${money}`, top, height, [low, high + (high - low) * 0.16]);
  };
  const drawCost = (root, scale) => {
    const sides = [["cost", costs], ["would-cost", wouldCosts]].filter(([name, sums]) => sums && !hidden.has(name));
    for (const [name, sums] of sides) {
      const points = [];
      for (let px = 0; px <= inner(); px += 2) {
        const tick = Math.min(tickAt(margin.left + px), data.ticks);
        points.push(`${fixed(x(tick))} ${fixed(scale.y(costAt(sums, tick)))}`);
      }
      svg("path", { d: `M${points.join("L")}`, class: `stroke ${name}`, "data-series": name }, root);
    }
    if (hidden.has("references")) return;
    const byValue = new Map();
    for (const [name, final] of data.references) byValue.set(final, [...(byValue.get(final) ?? []), name]);
    const levels = [...byValue].map(([final, names]) =>
      ({ value: final, kind: "reference", label: `${names.join(", ")}: ${number(final, 0)} in the end` }));
    drawLevels(root, scale, view.to >= data.ticks ? levels : levels.filter(({ value }) => value <= scale.high), "start");
  };

  let layers = null;
  const layout = () => {
    const tall = width > 700 ? 1 : 0.82;
    const heights = { gpus: 250 * tall, resizes: 62, busy: 130 * tall, cost: 120 * tall };
    let top = 24;
    const tops = {};
    for (const name in heights) {
      tops[name] = top;
      top += heights[name] + 34;
    }
    return { heights, tops, bottom: top - 34 };
  };
  const draw = () => {
    if (width <= margin.left + margin.right + 20) return;
    const { heights, tops, bottom } = layout();
    const height = bottom + 28;
    plot.replaceChildren();
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    plot.setAttribute("height", height);
    const definitions = svg("defs", {}, plot);
    hatch(definitions, "unknown-pattern", "unknown", 45);
    hatch(definitions, "censored-pattern", "censored", -45);
    drawTimes(plot, tops.gpus, bottom);
    const [upper, share, cost] =
      [gpuPanel(tops.gpus, heights.gpus), panel("Utilization of ready GPUs, %", tops.busy, heights.busy, [0, Math.max(104, most(busy))]), costPanel(tops.cost, heights.cost)];
    frame(plot, upper);
    frame(plot, share, [0, 25, 50, 75, 100]);
    frame(plot, cost);
    drawResizes(plot, tops.resizes, heights.resizes);
    const root = plot;
    drawBands(root, [upper, share]);
    // What was asked for is seen where it is not what is ready.
    if (!hidden.has("asked")) drawSteps(root, asked, upper, "asked");
    if (!hidden.has("ready")) drawSteps(root, ready, upper, "ready", "ready-fill");
    if (!hidden.has("demand")) drawSeries(root, demand, upper, "demand");
    if (data.is_open && !hidden.has("would")) drawSteps(root, would, upper, "would");
    if (!hidden.has("bounds")) {
      const bound = (count, name) => ({ value: count * gpus, kind: "bounds", label: `${name} ${count} ${count === 1 ? "node" : "nodes"}, ${number(count * gpus)} GPUs` });
      drawLevels(root, upper, [bound(data.max_nodes, "at most"), bound(data.min_nodes, "at least")]);
    }
    if (!hidden.has("busy")) drawSeries(root, busy, share, "busy");
    if (!hidden.has("levels")) drawLevels(root, share, data.levels.map((level) => ({ ...level, value: level.value * 100 })));
    drawCost(root, cost);
    layers = { cursor: svg("g", {}, plot), bottom, tops };
    const isClose = (view.to - view.from) * data.step_ms < 2 * hour;
    byId("range").textContent = `${moment(view.from, isClose)} – ${moment(view.to, isClose)} UTC (${length(view.to - view.from)})`;
    plot.setAttribute("aria-label", `Demand, sizes, utilization and cost, ${byId("range").textContent}; ${resizes.length} resizes`);
    plot.dataset.from = Math.round(view.from);
    plot.dataset.to = Math.round(view.to);
    drawCursor();
  };
  let waits = false;
  const redraw = () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => { waits = false; draw(); });
  };

  // ---- 4 Legend ----------------------------------------------------------------------------------------------

  // Name, words, look, and words for which there is no room on a phone.
  const legend = [
    ["demand", "Demand", "demand"], ["ready", "Ready", "ready"],
    ["asked", "Asked", "asked", data.is_open && " for, as recorded"],
    data.is_open && ["would", "Policy would ask", "would"], ["bounds", "Bounds", "bounds", " of the policy"],
    resizes.length && ["resizes", "Grew, shrank", ["grew", "shrank"]],
    ["busy", "Utilization", "busy"], data.levels.length && ["levels", "Targets", "target", " and thresholds"],
    ["cost", "Cost", "cost"], wouldCosts && ["would-cost", "Policy's cost", "would-cost"],
    data.references.length && ["references", "Others' cost", "reference", " in the end"],
    bands.saturated.length && ["saturated", "Saturated", ["saturated"], ": demand above capacity"],
    bands.unknown.length && ["unknown", "Unknown", ["unknown"], ": a signal cannot be judged"],
    bands.censored.length && ["censored", "Censored", ["censored"], ": demand was at least this"],
  ].filter(Boolean);
  const drawLegend = () => {
    for (const [name, words, look, more] of legend) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.toggles = name;
      button.setAttribute("aria-pressed", "true");
      const swatch = svg("svg", { width: 26, height: 12, "aria-hidden": "true" }, button);
      if (Array.isArray(look)) look.forEach((kind, at) => svg("rect", { x: at * 13, y: 0, width: 26 / look.length - 1, height: 12, class: kind }, swatch));
      else svg("line", { x1: 0, x2: 26, y1: 6, y2: 6, class: `stroke ${look}` }, swatch);
      const label = node("span", words, button);
      if (more) node("span", more, label, "long");
      button.addEventListener("click", () => {
        const isShown = hidden.has(name);
        if (isShown) hidden.delete(name);
        else hidden.add(name);
        button.setAttribute("aria-pressed", String(isShown));
        redraw();
      });
      byId("legend").append(button);
    }
  };

  // ---- 5 Read-out --------------------------------------------------------------------------------------------

  const tip = byId("tip");
  let cursor = null; // a tick, or null
  const plain = (text) => text.replaceAll("`", "");
  const nodes = (count) => `${number(count * gpus)} GPUs (${count} ${count === 1 ? "node" : "nodes"})`;
  const range = (series, bucket, unit) => {
    const [least, mean, largest] = [series.min[bucket], series.mean[bucket], series.max[bucket]];
    if (Number.isNaN(mean)) return "not known";
    return `${number(mean, 1)}${unit}` + (largest - least > 0.05 ? ` (${number(least, 1)} to ${number(largest, 1)})` : "");
  };
  const readings = (tick) => {
    const bucket = clamp(Math.floor(tick / data.per_bucket), 0, demand.mean.length - 1);
    const found = [["Demand", range(demand, bucket, " GPUs")], ["Ready", nodes(valueAt(ready, tick))], ["Asked", nodes(valueAt(asked, tick))]];
    if (data.is_open) found.push(["Policy asks", nodes(valueAt(would, tick))]);
    found.push(["Utilization", range(busy, bucket, " %")], ["Cost so far", `${number(costAt(costs, tick), 0)} ${money}`]);
    return found;
  };
  const states = (tick) => Object.keys(bands).filter((kind) => within(bands[kind], tick));
  const told = (event, parent) => {
    const [headline, ...others] = sentences(event);
    const [limits, signals] = [others.slice(0, Math.max(others.length - data.signals, 0)), others.slice(-data.signals)];
    node("div", plain(headline), parent, "decision");
    if (others.length) {
      const list = node("ul", undefined, parent);
      for (const sentence of [...limits, ...signals]) node("li", plain(sentence), list);
    }
  };
  const fillTip = () => {
    tip.replaceChildren();
    node("strong", `${moment(cursor)} UTC`, tip);
    const list = node("dl", undefined, tip);
    for (const [name, value] of readings(cursor)) {
      node("dt", name, list);
      node("dd", value, list);
    }
    for (const state of states(cursor)) node("span", state, tip, "state");
    const event = events[placeOf(eventTicks, cursor)];
    if (event) {
      node("div", event.tick === cursor ? "Decided here:" : `In force since ${moment(event.tick)}:`, tip);
      told(event, tip);
    }
    const resize = resizes[placeOf(resizeTicks, cursor)];
    if (resize && resize !== event) node("div", `Last resize ${moment(resize.tick)}: ${resize.from} → ${resize.to}, ${plain(sentences(resize)[0]).replace(/^[^:]*: /, "")}`, tip);
  };
  const drawCursor = () => {
    if (!layers) return;
    layers.cursor.replaceChildren();
    if (brush) {
      const [left, right] = [Math.min(brush.from, brush.to), Math.max(brush.from, brush.to)];
      svg("rect", { x: left, width: right - left, y: layers.tops.gpus, height: layers.bottom - layers.tops.gpus, class: "brush" }, layers.cursor);
    }
    const isShown = cursor !== null && cursor >= view.from && cursor <= view.to && !brush;
    tip.hidden = !isShown;
    if (!isShown) return;
    const px = x(Math.min(cursor + 0.5, view.to));
    svg("line", { x1: px, x2: px, y1: layers.tops.gpus, y2: layers.bottom, class: "cursor" }, layers.cursor);
    fillTip();
    const room = byId("chart").clientWidth;
    const left = px + 16 + tip.offsetWidth <= room ? px + 16 : Math.max(px - 16 - tip.offsetWidth, 0);
    tip.style.transform = `translate(${Math.round(left)}px, ${layers.tops.gpus + 4}px)`;
  };
  const say = () => {
    const event = events[placeOf(eventTicks, cursor)];
    const what = event ? sentences(event).map(plain).join(". ") : "no decision yet";
    byId("said").textContent = [`${moment(cursor)} UTC`, ...states(cursor), what].join(". ");
  };

  // ---- 6 Moving about ----------------------------------------------------------------------------------------

  const show = (from, to) => {
    const span = clamp(to - from, shortest, data.ticks);
    view.from = clamp(from, 0, data.ticks - span);
    view.to = view.from + span;
    redraw();
  };
  const zoom = (factor, around = (view.from + view.to) / 2) => {
    const span = clamp((view.to - view.from) * factor, shortest, data.ticks);
    const share = (around - view.from) / (view.to - view.from);
    show(around - share * span, around + (1 - share) * span);
  };
  const pan = (share) => {
    const by = (view.to - view.from) * share;
    show(view.from + by, view.to + by);
  };
  const isAll = () => view.to - view.from >= data.ticks;
  const goTo = (tick, widest = view.to - view.from) => {
    cursor = tick;
    const span = Math.min(view.to - view.from, Math.max(widest, shortest));
    const isInside = tick >= view.from + span * 0.05 && tick <= view.to - span * 0.05;
    if (!isInside || span < view.to - view.from) show(tick - span / 2, tick + span / 2);
    else drawCursor();
    say();
  };
  const step = (direction) => {
    const at = cursor ?? Math.ceil(view.from) - 1;
    const place = direction > 0 ? placeOf(resizeTicks, at) + 1 : placeOf(resizeTicks, at - 1);
    if (resizes[place]) goTo(resizes[place].tick);
    else byId("said").textContent = direction > 0 ? "There is no later resize" : "There is no earlier resize";
  };
  const moveCursor = (direction) => {
    const by = Math.max(1, Math.round((view.to - view.from) / inner()));
    goTo(clamp((cursor ?? Math.floor((view.from + view.to) / 2)) + direction * by, 0, data.ticks - 1));
  };
  const everything = () => show(0, data.ticks);
  const close = () => { cursor = null; brush = null; drawCursor(); };
  const keys = {
    "+": () => zoom(0.5, cursor ?? undefined), "=": () => zoom(0.5, cursor ?? undefined), "-": () => zoom(2), 0: everything,
    ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), ",": () => moveCursor(-1), ".": () => moveCursor(1),
    Home: () => show(0, view.to - view.from), End: () => show(data.ticks - (view.to - view.from), data.ticks),
    "[": () => step(-1), "]": () => step(1), Escape: close,
  };
  const buttons = { in: keys["+"], out: keys["-"], all: everything, previous: keys["["], next: keys["]"] };

  // What a drag is for is decided where it begins.
  let brush = null;
  let held = null;
  const place = (event) => clamp(event.clientX - plot.getBoundingClientRect().left, margin.left, width - margin.right);
  // Over the row of resizes, the pointer means the nearest one.
  const pointed = (event) => {
    const tick = clamp(Math.floor(tickAt(place(event))), 0, data.ticks - 1);
    const above = event.clientY - plot.getBoundingClientRect().top;
    if (above < layers.tops.resizes - 20 || above > layers.tops.busy - 20) return tick;
    const at = placeOf(resizeTicks, tick);
    const near = [resizes[at], resizes[at + 1]].filter((found) => found && Math.abs(x(found.tick) - place(event)) < 12);
    near.sort((a, b) => Math.abs(a.tick - tick) - Math.abs(b.tick - tick));
    return near.length ? near[0].tick : tick;
  };
  const listen = () => {
    plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      held = { at: place(event), from: view.from, to: view.to, pans: event.shiftKey };
      try { plot.setPointerCapture(event.pointerId); } catch { /* a pointer that is gone already */ }
    });
    plot.addEventListener("pointermove", (event) => {
      if (!layers) return;
      const at = place(event);
      if (held?.pans) {
        const by = ((held.at - at) / inner()) * (held.to - held.from);
        show(held.from + by, held.to + by);
      } else if (held && Math.abs(at - held.at) > 4) {
        brush = { from: held.at, to: at };
        drawCursor();
      } else if (!held) {
        cursor = pointed(event);
        drawCursor();
      }
    });
    plot.addEventListener("pointerup", (event) => {
      if (brush) show(tickAt(Math.min(brush.from, brush.to)), tickAt(Math.max(brush.from, brush.to)));
      else if (held && !held.pans) { cursor = pointed(event); drawCursor(); say(); }
      [brush, held] = [null, null];
    });
    plot.addEventListener("pointercancel", () => { held = null; close(); });
    plot.addEventListener("pointerleave", () => { if (!held && document.activeElement !== plot) close(); });
    plot.addEventListener("dblclick", everything);
    plot.addEventListener("wheel", (event) => {
      const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
      // Where there is no further out, the wheel scrolls the page.
      if (isAll() && (isSideways || event.deltaY > 0)) return;
      event.preventDefault();
      if (isSideways) pan(event.deltaX / inner());
      else zoom(Math.exp(clamp(event.deltaY, -240, 240) * 0.003), tickAt(place(event)));
    }, { passive: false });
    plot.addEventListener("keydown", (event) => {
      const action = keys[event.key];
      if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      action();
    });
    byId("tools").addEventListener("click", (event) => buttons[event.target.dataset.do]?.());
    // A row of the table shows its resize: two hours of it, or less if that is what is in view.
    byId("decisions").addEventListener("click", (event) => {
      const tick = event.target.dataset.tick;
      if (tick === undefined) return;
      event.preventDefault();
      byId("charts").scrollIntoView();
      plot.focus({ preventScroll: true });
      goTo(Number(tick), (2 * hour) / data.step_ms);
    });
  };

  // ---- 7 Start -----------------------------------------------------------------------------------------------

  byId("drawn").hidden = false;
  drawLegend();
  listen();
  const fit = () => {
    const found = Math.round(byId("chart").clientWidth);
    if (found && found !== width) { width = found; draw(); }
  };
  new ResizeObserver(fit).observe(byId("chart"));
  fit();
  // Paper has its own width; the drawing scales to it.
  addEventListener("beforeprint", () => { cursor = null; width = 1000; draw(); });
  addEventListener("afterprint", () => { width = 0; fit(); });
})();
