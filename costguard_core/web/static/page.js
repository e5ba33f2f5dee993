"use strict";
// Draws the spend of each hour or day as stacked bars. The figures come from the page; nothing is fetched.
(() => {
  const place = document.getElementById("chart");
  if (!place || typeof uPlot === "undefined") return;
  const chart = JSON.parse(place.dataset.chart);
  if (!chart.series.length) return;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const count = chart.labels.length;
  const places = chart.labels.map((_, index) => index);
  const total = chart.labels.map(() => 0);
  const stacked = chart.series.map((line) => line.values.map((value, index) => (total[index] += value)));
  const money = (value) => "$" + (value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(2) : value === 0 ? "0" : value < 0.0001 ? value.toPrecision(1) : value.toFixed(4));
  // As many digits as tell the lines apart, the same on all of them.
  const scale = (values) => {
    const step = values.length > 1 ? values[1] - values[0] : 1;
    let digits = 0;
    while (digits < 9 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits += 1;
    if (digits === 1) digits = 2;
    return values.map((value) => "$" + (value ? value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }) : "0"));
  };
  const bars = uPlot.paths.bars({ size: [0.7, 64], radius: 0.08 });
  const paint = (index) => () => colour("--c" + Math.min(index, 6));
  const series = chart.series.map((line, index) => ({
    label: line.name, stroke: paint(index), fill: paint(index), width: 0, paths: bars, points: { show: false },
  }));
  const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const short = (label) => chart.unit === "hour" ? label.slice(11, 16) : months[Number(label.slice(5, 7)) - 1] + " " + Number(label.slice(8, 10));
  const readout = document.getElementById("readout");
  const tell = (index) => {
    if (index === null || index === undefined) { readout.textContent = readout.dataset.whole; return; }
    const parts = chart.series.filter((line) => line.values[index]).map((line) => line.name + " " + money(line.values[index]));
    readout.textContent = chart.labels[index] + ": " + money(total[index]) + (parts.length ? " (" + parts.join(", ") + ")" : "");
  };
  const options = () => ({
    width: place.clientWidth, height: place.clientHeight, legend: { show: false },
    cursor: { drag: { x: false, y: false }, y: false, points: { show: false } },
    hooks: { setCursor: [(u) => tell(u.cursor.idx)] },
    scales: { x: { time: false, range: [-0.5, count - 0.5] }, y: { range: (u, low, high) => [0, high * 1.08 || 1] } },
    axes: [
      { ...axis, size: 28, grid: { show: false }, splits: (u) => places.filter((index) => index % Math.ceil(count / Math.max(2, Math.floor(u.width / 90))) === 0), values: (u, all) => all.map((index) => short(chart.labels[index])) },
      { ...axis, size: 66, values: (u, all) => scale(all) },
    ],
    // The tallest stack is drawn first, so that each part in front of it shows its own share.
    series: [{}, ...series.slice().reverse()],
  });
  const plot = new uPlot(options(), [places, ...stacked.slice().reverse()], place);
  place.dataset.bars = String(total.filter(Boolean).length);
  // With the keyboard: arrows go from bar to bar.
  let at = count;
  place.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    at = Math.max(0, Math.min(count - 1, at + (event.key === "ArrowLeft" ? -1 : 1)));
    tell(at);
  });
  place.addEventListener("blur", () => tell(null));
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: place.clientHeight })).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw());
})();
// Puts in what takes longer to work out than the page may take. It is our own page's HTML, in which every name is escaped.
for (const place of document.querySelectorAll("[data-from]")) {
  fetch(place.dataset.from).then(async (answer) => {
    if (answer.ok && !answer.redirected) place.innerHTML = await answer.text();
  }, () => {});  // the link that stands there does the same
}
