// Tells MoEngage's Web SDK what the server has put into the page: an impression of each
// experience once, and the clicks on its marked elements. The SDK is the page's own; a
// visitor whose device id the server lacks has it handed over.
(() => {
  const page = document, own = page.currentScript.src.replace(/[^/]*$/, "");
  const read = new WeakSet, contexts = new Map, clicked = new WeakMap, waiting = [];
  let sdk, device, due;

  const idOf = async found => {
    try {
      return await found.device.getUuid();
    } catch {
      // It is not there yet, or was switched off.
    }
  };

  // Either of the documented ways will do where the SDK lacks the one that was asked for.
  const call = async ([api, ...rest]) => {
    const ways = [sdk[api], sdk.personalize, sdk.web_p];
    const [name, ...given] = rest;
    try {
      await ways.find(way => way?.[name])[name](...given);
    } catch (error) {
      console.warn("moe_middleware: the Web SDK took no " + name, error);
    }
  };

  const tell = (...what) => {
    waiting.push(what);
    flush();
  };

  // A page that is rendered ahead of its visitor has shown nothing.
  const flush = () => {
    if (sdk && !page.prerendering) waiting.splice(0).forEach(call);
  };

  const handOver = async () => {
    const cookie = device;
    if (!cookie || !sdk) return;
    device = null;
    if (("; " + page.cookie).includes("; " + cookie + "=")) return;
    const id = await idOf(sdk);
    // Where that fails, the server asks again with the next page.
    if (id) fetch(own + "d", {method: "POST", body: id, keepalive: true}).catch(() => {});
  };

  const scan = () => {
    due = 0;
    page.querySelectorAll("script[data-moe-web-sdk]").forEach(block => {
      if (read.has(block)) return;
      read.add(block);
      const data = JSON.parse(block.textContent);
      Object.entries(data.contexts).forEach(([key, context]) => {
        contexts.set(key, [data.api, context]);
        tell(data.api, "trackImpression", context);
      });
      device = data.device ?? device;
      handOver();
    });
  };

  // Whoever comes too late for the event finds the SDK with a device id.
  const wake = async event => {
    const found = window.Moengage || window.MoEngage;
    const isReady = event?.detail?.name == "SDK_INITIALIZED";
    if (!found || sdk || !(isReady || await idOf(found)) || sdk) return;
    sdk = found;
    flush();
    handOver();
  };

  const click = event => {
    const path = event.composedPath(), now = Date.now();
    const node = path.find(node => node.matches?.("[data-moe-widget]"));
    const [api, context] = contexts.get(node?.dataset.moeSdk) || [];
    if (!context || !event.isTrusted || event.button > 1 ||
      Math.abs(now - clicked.get(node)) < 300) return;
    clicked.set(node, now);
    tell(api, "trackClick", context, {widget_id: node.dataset.moeWidget});
  };

  for (const name of ["click", "auxclick"]) addEventListener(name, click, true);
  addEventListener("MOE_LIFECYCLE", wake);
  addEventListener("load", wake);
  page.addEventListener("prerenderingchange", flush);
  new MutationObserver(() => due ||= setTimeout(scan, 100)).observe(page, {
    childList: true, subtree: true
  });
  scan();
  wake();
})();
