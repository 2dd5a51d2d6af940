// Data of the report. A page opened from disk may not fetch files, so the data are scripts that call these functions.
"use strict";

(() => {
  const CACHE_SIZE = 8; // number of decoded images, a few megabytes each
  const loaded = new Map(); // file → promise of the decoded image, most recently used last
  const waiting = new Map(); // file → function that receives the content

  seamseg.receiveIndex = (index) => {
    seamseg.index = index;
    index.images.forEach((image, position) => (image.position = position));
  };

  seamseg.receiveImage = (file, content) => waiting.get(file)?.(content);

  /** Return a promise of the decoded image: size, shown, and prediction and truth (or null) with ids and segments. */
  seamseg.loadImage = (file) => {
    const known = loaded.get(file) ?? load(file);
    loaded.delete(file);
    loaded.set(file, known);
    while (loaded.size > CACHE_SIZE) loaded.delete(loaded.keys().next().value);
    return known;
  };

  async function load(file) {
    try {
      const content = await runScript(file);
      const decoded = [content.prediction, content.truth].map((side) => decodeSide(side, content.shown[1]));
      const [prediction, truth] = await Promise.all(decoded);
      return { size: content.size, shown: content.shown, prediction, truth };
    } catch (error) {
      loaded.delete(file); // the next call tries again
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
        reject(new Error(`data/${file}.js cannot be read; check that the folder of the report is complete`));
      };
      document.head.append(script);
    });
  }

  async function decodeSide(side, width) {
    return side && { ids: await decodeIds(side.ids, side.bytes, width), segments: side.segments };
  }

  /** Return the ids of all pixels, row by row; the inverse of seamseg.report.segments.encode_ids. */
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
