/* Draws the gap's two parts along one setting, at the others that the controls say. */
(() => {
  const by = (id) => document.getElementById(id);
  const data = JSON.parse(by("explorer-data").textContent);

  /* Half-precision floats, which not every browser reads by itself. */
  const half = (bits) => {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
    return bits & 32768 ? -size : size;
  };
  const unpacked = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float32Array.from({ length: bytes.length / 2 }, (_, i) => data.unit * half(view.getUint16(2 * i, true)));
  };
  const parts = Object.fromEntries(["optimisation", "statistics", "half"].map((name) => [name, unpacked(data[name])]));
  const axis = Object.fromEntries(data.axes.map((each) => [each.name, each]));
  /* Exact preferences know no number of labels. */
  const dims = { all: data.axes, exact: data.axes.filter((each) => each.name !== "samples") };
  const at = (part, place) => {
    const own = part === "optimisation" ? dims.exact : dims.all;
    return parts[part][own.reduce((sum, each) => sum * each.values.length + place[each.name], 0)];
  };

  const controls = [...document.querySelectorAll("#explore [data-axis]")];
  const place = () => Object.fromEntries(controls.map((control) => [control.dataset.axis, Number(control.value)]));
  const shown = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 3 }) : value);
  const number = (value) => {
    const size = Math.abs(value);
    if (size < 5e-8) return "0";
    const text = size < 1e-4 ? size.toExponential(1) : String(Number(size.toPrecision(size < 1e-2 ? 2 : 3)));
    return (value < 0 ? "−" : "") + text.replace("e-", "e−");
  };

  const svg = by("chart");
  const draw = (name, attributes, text = "") => {
    const element = document.createElementNS(svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    svg.append(element);
  };
  const BOX = { left: 64, right: 748, top: 14, bottom: 284 };
  /* As many units as there are pixels, so that letters keep their size on any screen. */
  const fit = () => {
    const width = Math.max(svg.clientWidth, 240);
    svg.setAttribute("viewBox", `0 0 ${width} 330`);
    BOX.right = width - 12;
  };
  let held = null;

  /* Steps of 1, 2 or 5 times a power of ten, about five of them. */
  const step = (span) => {
    const raw = span / 5, power = 10 ** Math.floor(Math.log10(raw));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  };

  const show = () => {
    fit();
    const here = place(), along = axis[by("along").value];
    const points = along.values.map((value, i) => {
      const cell = { ...here, [along.name]: i };
      const [optimisation, statistics, half] = ["optimisation", "statistics", "half"].map((part) => at(part, cell));
      return { value, optimisation, statistics, half, gap: optimisation + statistics };
    });
    const tops = points.flatMap((p) => [p.optimisation, p.gap + p.half]), lows = points.map((p) => p.gap - p.half);
    const range = { high: Math.max(...tops, 1e-7), low: Math.min(0, ...lows) };
    if (!by("hold").checked || held === null) held = range;
    const { low, high } = held, span = high - low;
    const y = (value) => BOX.bottom - ((value - low) / span) * (BOX.bottom - BOX.top);
    const width = (BOX.right - BOX.left) / points.length;

    svg.replaceChildren();
    const every = step(span);
    for (let tick = Math.ceil(low / every) * every; tick <= high * 1.0001; tick += every) {
      draw("line", { x1: BOX.left, x2: BOX.right, y1: y(tick), y2: y(tick), class: "grid" });
      draw("text", { x: BOX.left - 8, y: y(tick) + 4, class: "end" }, number(tick));
    }
    draw("text", { x: 14, y: (BOX.top + BOX.bottom) / 2, class: "middle", transform: `rotate(-90 14 ${(BOX.top + BOX.bottom) / 2})` }, "gap (reward)");
    points.forEach((point, i) => {
      const middle = BOX.left + width * (i + 0.5), bar = Math.min(width * 0.56, 64), x = middle - bar / 2;
      const box = (from, to, kind) => {
        if (to > from) draw("rect", { x, width: bar, y: y(to), height: y(from) - y(to), class: kind });
      };
      if (i === here[along.name]) draw("rect", { x: middle - width / 2 + 2, width: width - 4, y: BOX.top, height: BOX.bottom - BOX.top + 26, rx: 6, class: "chosen" });
      box(0, Math.min(point.optimisation, Math.max(point.gap, 0)), "optimisation");
      if (point.statistics >= 0) box(point.optimisation, point.gap, "statistics");
      else box(point.gap, point.optimisation, "saved");
      draw("path", { d: `M${middle - 5} ${y(point.gap - point.half)}h10m-5 0V${y(point.gap + point.half)}m-5 0h10`, class: "interval" });
      draw("text", { x: middle, y: BOX.bottom + 18, class: "middle" }, shown(point.value));
    });
    draw("line", { x1: BOX.left, x2: BOX.right, y1: y(0), y2: y(0), class: "zero" });
    draw("text", { x: (BOX.left + BOX.right) / 2, y: BOX.bottom + 40, class: "middle" }, along.symbol);

    const { value, optimisation, statistics, half, gap } = points[here[along.name]];
    by("explorer-says").textContent = `At ${along.symbol} = ${shown(value)} the gap is ${number(gap)}: optimisation ${number(optimisation)}, statistics ${number(statistics)} ± ${number(half)}.`;
    by("numbers-along").textContent = along.symbol;
    by("numbers").tBodies[0].replaceChildren(...points.map((p) => {
      const row = document.createElement("tr"), head = document.createElement("th");
      head.scope = "row";
      head.textContent = shown(p.value);
      row.append(head);
      for (const each of [p.gap, p.optimisation, p.statistics, p.half]) row.insertCell().textContent = number(each);
      return row;
    }));
    for (const control of controls.filter((each) => each.type === "range")) {
      const text = shown(axis[control.dataset.axis].values[control.value]);
      control.parentElement.querySelector("output").textContent = text;
      control.setAttribute("aria-valuetext", text);
    }
  };

  by("explore").hidden = false;
  for (const control of [...controls, by("along"), by("hold")]) control.addEventListener("input", show);
  addEventListener("resize", show);
  show();
})();
