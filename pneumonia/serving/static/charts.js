// Draw charts as SVG, in the pixels of the place where they stand, so that their words keep their size.

const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 180;
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 12, 10, 24]; // of the frame: room for the words of the axes
const APART = 92; // px between two words of the lower axis, at least
const MARK = 4;

export function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(name, value);
  made.append(...children.flat(Infinity).filter(Boolean));
  return made;
}

const at = (value) => String(Math.round(10 * value) / 10);

// label: what the picture shows, for those who do not see it.
function picture(width, height, label, ...children) {
  const seen = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true", focusable: "false" };
  return shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, ...seen }, children);
}

// Round numbers from 0 to at least the largest value: [0, 5, 10].
export function steps(largest, most = 5) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(largest, 1e-9) / most));
  const step = [1, 2, 5, 10].map((times) => times * unit).find((one) => one * most >= largest * (1 - 1e-9));
  const count = Math.max(1, Math.ceil(largest / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, place) => place * step);
}

// The frame of a chart: lines and words of the left axis, words of the lower one.
// levels: [value] of the left axis, from 0 on; say: (value) => words; marks: [{place: 0 to 1, text}] below.
function frame(width, levels, say, marks) {
  const [inner, tall, top] = [width - LEFT - RIGHT, HEIGHT - TOP - BOTTOM, levels.at(-1)];
  const x = (place) => LEFT + inner * place;
  const y = (value) => TOP + tall * (1 - Math.min(value, top) / top);
  const rules = levels.map((value) => [
    shape("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: at(y(value)), y2: at(y(value)) }),
    shape("text", { class: "axis", x: LEFT - 6, y: at(y(value) + 4), "text-anchor": "end" }, say(value)),
  ]);
  const stride = Math.max(1, Math.ceil(marks.length / Math.max(1, Math.floor(inner / APART))));
  const words = marks.filter((_, place) => place % stride === 0).map(({ place, text }) => shape("text", {
    class: "axis", x: at(x(place)), y: HEIGHT - 6,
    "text-anchor": place < 0.04 ? "start" : place > 0.96 ? "end" : "middle",
  }, text));
  return { x, y, inner, below: y(0), parts: [rules, words] };
}

// Columns side by side, each of parts one above the other.
// columns: [[value of each part]]; classes: of the parts; outline: [value] of another series, drawn as a line of steps.
export function columns({ width, label, columns: found, classes, outline, levels, say, marks }) {
  const { x, y, inner, parts } = frame(width, levels, say, marks);
  const each = inner / found.length;
  const gap = each > 6 ? 2 : each > 3 ? 1 : 0;
  const bars = found.flatMap((values, place) => {
    let under = 0;
    return values.map((value, part) => {
      const [low, high] = [under, (under += value)];
      return value > 0 && shape("rect", {
        class: classes[part], x: at(x(place / found.length) + gap / 2), width: at(each - gap),
        y: at(y(high)), height: at(Math.max(y(low) - y(high), 1)),
      });
    });
  });
  const line = outline && shape("path", { class: "outline", d: outline.map((value, place) =>
    `${place ? "L" : "M"}${at(x(place / outline.length))} ${at(y(value))}H${at(x((place + 1) / outline.length))}`).join("") });
  return picture(width, HEIGHT, label, parts, bars, line);
}

// Lines over the same places. series: [{name: class, points: [{place: 0 to 1, value: number or null, mark}]}];
// a null interrupts the line; mark: "dot" or "alarm", which differ in shape; limit: a level that is drawn across.
export function lines({ width, label, series, limit, levels, say, marks }) {
  const { x, y, parts } = frame(width, levels, say, marks);
  const level = limit !== undefined && shape("line", { class: "limit", x1: LEFT, x2: width - RIGHT, y1: at(y(limit)), y2: at(y(limit)) });
  const drawn = series.map(({ name, points }) => {
    let open = false;
    const d = points.map(({ place, value }) => {
      const step = value === null ? "" : `${open ? "L" : "M"}${at(x(place))} ${at(y(value))}`;
      open = value !== null;
      return step;
    }).join("");
    return [shape("path", { class: `line ${name}`, d }), points.map((point, place) => dot(x, y, name, points, place))];
  });
  return picture(width, HEIGHT, label, parts, level, drawn);
}

// A point's mark; one that stands alone has no line, and gets a dot in any case.
function dot(x, y, name, points, index) {
  const { place, value, mark } = points[index];
  const alone = value !== null && (points[index - 1]?.value ?? null) === null && (points[index + 1]?.value ?? null) === null;
  if (value === null || !(mark || alone)) return null;
  const [cx, cy] = [x(place), y(value)];
  if (mark === "alarm") {
    const size = MARK + 2;
    const d = `M${at(cx)} ${at(cy - size)}l${size} ${size}l-${size} ${size}l-${size} -${size}z`;
    return shape("path", { class: `mark alarm ${name}`, d });
  }
  return shape("circle", { class: `mark ${name}`, cx: at(cx), cy: at(cy), r: MARK - 1 });
}

// A bar in a row of a table, whose number stands beside it. most: the value of the full width; limit: a mark across.
export function meter({ value, most, limit, name }) {
  const [width, height] = [120, 14];
  const x = (found) => Math.min(found / most, 1) * (width - 2);
  return picture(width, height, "",
    shape("rect", { class: "rail", x: 0, y: 2, width, height: height - 4, rx: 2 }),
    shape("rect", { class: `bar-fill ${name}`, x: 0, y: 2, width: at(x(value)), height: height - 4, rx: 2 }),
    limit !== undefined && shape("line", { class: "at-limit", x1: at(x(limit)), x2: at(x(limit)), y1: 0, y2: height }));
}

// A value with its interval over a band, from 0 to 1; truth: what was measured, as a diamond.
export function interval({ band, value, truth }) {
  const [width, height, middle] = [160, 18, 9];
  const x = (found) => MARK + 2 + found * (width - 2 * (MARK + 2));
  const cross = truth && `M${at(x(truth.value))} ${middle - 5}l5 5l-5 5l-5 -5z`;
  return picture(width, height, "",
    shape("line", { class: "rule", x1: 0, x2: width, y1: middle, y2: middle }),
    band && shape("rect", {
      class: "band", x: at(x(band.low)), width: at(Math.max(x(band.high) - x(band.low), 1)), y: 2, height: height - 4, rx: 2,
    }),
    value && shape("line", { class: "whiskers", x1: at(x(value.low)), x2: at(x(value.high)), y1: middle, y2: middle }),
    value && shape("circle", { class: "mark estimate", cx: at(x(value.value)), cy: middle, r: MARK }),
    cross && shape("path", { class: "mark truth", d: cross }));
}

// The sample of a legend: "bar", "line" or "outline" of a class.
export function sample(kind, name) {
  const [width, height] = [22, 12];
  const drawn = kind === "bar"
    ? shape("rect", { class: name, x: 4, y: 0, width: 12, height })
    : shape("line", { class: kind === "line" ? `line ${name}` : name, x1: 0, x2: width, y1: height / 2, y2: height / 2 });
  return picture(width, height, "", drawn);
}
