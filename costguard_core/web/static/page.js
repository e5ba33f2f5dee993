"use strict";
// Draws the spend of each day as stacked bars. The figures come from the page; nothing is fetched.
(() => {
  const place = document.getElementById("chart");
  if (!place || typeof uPlot === "undefined") return;
  const chart = JSON.parse(place.dataset.chart);
  if (!chart.series.length) return;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const total = chart.times.map(() => 0);
  const stacked = chart.series.map((line) => line.values.map((value, index) => (total[index] += value)));
  const money = (value) => "$" + (value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(2) : value.toPrecision(2).replace(/\.?0+$/, ""));
  const bars = uPlot.paths.bars({ size: [0.7, 64], radius: 0.08 });
  const series = chart.series.map((line, index) => ({
    label: line.name, stroke: colour("--c" + Math.min(index, 6)), fill: colour("--c" + Math.min(index, 6)), paths: bars, points: { show: false },
  }));
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const day = (seconds) => new Date(seconds * 1000).toLocaleDateString("en", { month: "short", day: "numeric", timeZone: "UTC" });
  const half = 43200;
  const options = () => ({
    width: place.clientWidth, height: place.clientHeight, legend: { show: false }, cursor: { show: false },
    scales: { x: { time: false, range: [chart.times[0] - half, chart.times[chart.times.length - 1] + half] }, y: { range: (u, low, high) => [0, high * 1.08 || 1] } },
    axes: [
      { ...axis, grid: { show: false }, splits: () => chart.times.filter((_, i) => i % Math.ceil(chart.times.length / Math.max(2, Math.floor(place.clientWidth / 90))) === 0), values: (u, all) => all.map(day) },
      { ...axis, size: 62, values: (u, all) => all.map(money) },
    ],
    // The tallest stack is drawn first, so that each part in front of it shows its own share.
    series: [{}, ...series.slice().reverse()],
  });
  let plot = new uPlot(options(), [chart.times, ...stacked.slice().reverse()], place);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: place.clientHeight })).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => location.reload());
})();
