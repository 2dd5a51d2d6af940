// Layers over an image, painted pixel by pixel from id maps. Colors are [red, green, blue, opacity], 0 … 255.
"use strict";

(() => {
  const OUTLINE = [255, 255, 255, 230];
  const VOID = [0, 0, 0, 150];
  const VOID_STRIPE = [40, 40, 40, 130];
  const DIMMED = [0, 0, 0, 90];
  const EDGE = [10, 10, 10, 255];

  // Kinds of errors differ in color and in pattern. The signs in colors.css have the same colors and patterns.
  const KIND_PAINT = {
    missed: { color: [0, 114, 178], solid: (x, y, step) => (x + y) % step < step / 2 },
    classification: { color: [230, 159, 0], solid: (x, y, step) => (x + step * y - y) % step < step / 2 },
    localization: { color: [204, 121, 167], solid: (x, y, step) => y % step < step / 2 },
    duplicate: { color: [240, 228, 66], solid: (x, y, step) => x % step < step / 2 },
    background: { color: [213, 70, 0], solid: (x, y, step) => x % step < step / 2 !== y % step < step / 2 },
  };
  const [STRONG, WEAK] = [235, 120];

  const channels = (color) => [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
  /** Pack four channels into one number in the byte order of this machine's canvas. */
  const packed = (color) => new Uint32Array(new Uint8ClampedArray(color).buffer)[0];

  /** Paint segments in their colors, with outlines around things and stripes on void. */
  seamseg.paintFill = (canvas, [height, width], { ids, segments }) => {
    const classes = seamseg.index.classes;
    const colors = Uint32Array.from(segments, (segment) => packed([...channels(segment.color), 255]));
    const outlined = segments.map((segment) => segment.class >= 0 && classes[segment.class].thing && !segment.crowd);
    const [outline, dark, stripe] = [OUTLINE, VOID, VOID_STRIPE].map(packed);
    const step = patternStep(width);
    paint(canvas, height, width, (pixels) => {
      eachPixel(height, width, (i, x, y) => {
        const id = ids[i];
        const right = x + 1 < width ? ids[i + 1] : id;
        const below = y + 1 < height ? ids[i + width] : id;
        const edge =
          (right !== id && (outlined[id] || outlined[right])) || (below !== id && (outlined[id] || outlined[below]));
        const isVoid = segments[id].class < 0;
        pixels[i] = edge ? outline : isVoid ? ((x + y) % step < step / 2 ? dark : stripe) : colors[id];
      });
    });
  };

  /** Paint the errors of each side that are of its `kinds`. */
  seamseg.paintErrors = (canvas, [height, width], sides) => {
    const step = patternStep(width);
    paint(canvas, height, width, (pixels) => {
      for (const { ids, segments, kinds } of sides) {
        const paints = segments.map((segment) => (kinds.has(segment.outcome) ? KIND_PAINT[segment.outcome] : null));
        const strong = paints.map((one) => one && packed([...one.color, STRONG]));
        const weak = paints.map((one) => one && packed([...one.color, WEAK]));
        eachPixel(height, width, (i, x, y) => {
          const id = ids[i];
          if (paints[id]) pixels[i] = paints[id].solid(x, y, step) ? strong[id] : weak[id];
        });
      }
    });
  };

  /** Outline one segment with two lines and darken everything else. */
  seamseg.paintHighlight = (canvas, [height, width], ids, chosen) => {
    const [dimmed, outline, edge] = [DIMMED, OUTLINE, EDGE].map(packed);
    const reach = Math.max(1, Math.round(width / 640));
    paint(canvas, height, width, (pixels) => {
      eachPixel(height, width, (i, x, y) => {
        const inside = ids[i] === chosen;
        const near =
          (x >= reach && (ids[i - reach] === chosen) !== inside) ||
          (x + reach < width && (ids[i + reach] === chosen) !== inside) ||
          (y >= reach && (ids[i - reach * width] === chosen) !== inside) ||
          (y + reach < height && (ids[i + reach * width] === chosen) !== inside);
        pixels[i] = inside ? (near ? outline : 0) : near ? edge : dimmed;
      });
    });
  };

  seamseg.clearLayer = (canvas) => canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);

  const patternStep = (width) => 2 * Math.max(3, Math.round(width / 160));

  function paint(canvas, height, width, draw) {
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const picture = new ImageData(width, height);
    draw(new Uint32Array(picture.data.buffer));
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  function eachPixel(height, width, visit) {
    for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) visit(i, x, y);
  }
})();
