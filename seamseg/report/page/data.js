// What the report knows. Files on disk may not be fetched, so data comes as scripts that call these functions.
"use strict";

(() => {
  const KEPT = 8; // decoded images, a few megabytes each
  const loaded = new Map(); // file → promise of the decoded image, the latest last
  const waiting = new Map(); // file → function that takes the content

  seamseg.receiveIndex = (index) => {
    seamseg.index = index;
    index.images.forEach((image, position) => (image.position = position));
  };

  seamseg.receiveImage = (file, content) => waiting.get(file)?.(content);

  /** The decoded image: size, shown, prediction and truth (or null), each with ids and segments. */
  seamseg.loadImage = (file) => {
    const known = loaded.get(file) ?? load(file);
    loaded.delete(file);
    loaded.set(file, known);
    while (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
    return known;
  };

  async function load(file) {
    try {
      const content = await runScript(file);
      const decoded = [content.prediction, content.truth].map((side) => decodeSide(side, content.shown[1]));
      const [prediction, truth] = await Promise.all(decoded);
      return { size: content.size, shown: content.shown, prediction, truth };
    } catch (error) {
      loaded.delete(file); // to be tried again
      throw error;
    }
  }

  function runScript(file) {
    return new Promise((resolve, reject) => {
      const script = seamseg.element("script", { src: `data/${file}.js` });
      const done = () => {
        waiting.delete(file);
        script.remove();
      };
      waiting.set(file, resolve);
      script.onload = done;
      script.onerror = () => {
        done();
        reject(new Error(`data/${file}.js cannot be read; is the folder of the report complete?`));
      };
      document.head.append(script);
    });
  }

  async function decodeSide(side, width) {
    return side && { ids: await decodeIds(side.ids, side.bytes, width), segments: side.segments };
  }

  /** The inverse of seamseg.report.segments.encode_ids: ids of all pixels, row by row. */
  async function decodeIds(text, bytesPerId, width) {
    const compressed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const stride = width * bytesPerId;
    for (let i = stride; i < bytes.length; i++) bytes[i] ^= bytes[i - stride];
    return bytesPerId === 1
      ? bytes
      : Uint16Array.from({ length: bytes.length / 2 }, (_, i) => bytes[2 * i] | (bytes[2 * i + 1] << 8));
  }
})();
