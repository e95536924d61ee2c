/** SVG, drawn here without a browser. The same data gives the same text. */
import { type CustomSeriesRenderItem, type EChartsOption, init } from "echarts";

const size = { width: 900, height: 420 };
const font = "sans-serif";

function svgOf(option: EChartsOption, height = size.height): string {
  const chart = init(null, null, { renderer: "svg", ssr: true, width: size.width, height });
  try {
    chart.setOption({
      animation: false,
      backgroundColor: "#fff",
      textStyle: { fontFamily: font },
      ...option,
    });
    // Names of what is drawn are counted over all charts of a process.
    return `${chart.renderToSVGString().replaceAll(/\bzr\d+-/g, "zr-")}\n`;
  } finally {
    chart.dispose();
  }
}

export interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** What is drawn to compare with. */
  readonly dashed?: boolean;
}

export function linePlot(o: {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly logarithmic?: boolean;
  readonly lines: readonly Line[];
}): string {
  const type = o.logarithmic === true ? "log" : "value";
  return svgOf({
    title: { text: o.title, left: "center", textStyle: { fontSize: 15 } },
    legend: { bottom: 0 },
    grid: { left: 80, right: 30, top: 45, bottom: 75 },
    xAxis: { type, name: o.x, nameLocation: "middle", nameGap: 28 },
    yAxis: { type, name: o.y, nameLocation: "middle", nameGap: 55 },
    series: o.lines.map(({ name, points, dashed }) => ({
      type: "line",
      name,
      data: points.map(([x, y]) => [x, y]),
      ...(dashed === true ? { lineStyle: { type: "dashed" }, symbol: "none" } : { symbolSize: 7 }),
    })),
  });
}

export interface Bar {
  readonly row: string;
  /** Coloured alike, and named in the legend. */
  readonly kind: string;
  readonly from: number;
  readonly to: number;
}

/** What was done when: a row for each, from the top. */
export function timeline(o: { readonly title: string; readonly x: string; readonly bars: readonly Bar[] }): string {
  const rows = [...new Set(o.bars.map(({ row }) => row))];
  const kinds = [...new Set(o.bars.map(({ kind }) => kind))];
  const rowHeight = rows.length > 40 ? 12 : 22;
  const renderItem: CustomSeriesRenderItem = (_params, api) => {
    const row = api.value(2);
    const [x = 0, y = 0] = api.coord([api.value(0), row]);
    const [end = 0] = api.coord([api.value(1), row]);
    const height = rowHeight * 0.7;
    const shape = { x, y: y - height / 2, width: Math.max(1, end - x), height };
    return { type: "rect", shape, style: { fill: api.visual("color") ?? "#888" } };
  };
  return svgOf(
    {
      title: { text: o.title, left: "center", textStyle: { fontSize: 15 } },
      legend: { bottom: 0 },
      grid: { left: 200, right: 30, top: 45, bottom: 75 },
      xAxis: { type: "value", name: o.x, nameLocation: "middle", nameGap: 28 },
      yAxis: {
        type: "category",
        data: rows,
        inverse: true,
        axisLabel: { interval: 0, fontSize: rowHeight > 12 ? 12 : 9 },
      },
      series: kinds.map((kind) => ({
        type: "custom",
        name: kind,
        renderItem,
        encode: { x: [0, 1], y: 2 },
        data: o.bars.filter((bar) => bar.kind === kind).map(({ from, to, row }) => [from, to, rows.indexOf(row)]),
      })),
    },
    130 + rows.length * rowHeight,
  );
}
