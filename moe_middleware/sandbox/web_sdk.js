// A stand-in of MoEngage's Web SDK, for pages that report to the sandbox. It does what
// server-side experiences need of the real one, and nothing else:
//
//   <script src=".../_sandbox/web_sdk.js" data-app-id="sandbox" defer nonce="..."></script>
//
// data-app-id               starts it; without, the page calls Moengage = moe({appId})
// data-delay="500"          until it is initialised, in milliseconds; 20 where left out
// data-bots="off"           lets bots in, so also a headless browser
// data-disable-cookies      as disableCookies in the configuration
//
// Every call of trackImpression and trackClick is one event, as with the real one: who
// calls twice counts twice.
(() => {
  "use strict";

  const IMPRESSION = "MOE_WEBP_MESSAGE_SHOWN";
  const CLICK = "MOE_WEBP_MESSAGE_CLICKED";
  const TWO_YEARS = 2 * 365 * 24 * 3600;
  const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
  const BOTS = [
    "Applebot", "PetalBot", "pingbot", "proximic", "AdsBot-Google", "Googlebot",
    "Cincraw", "SnapchatBot", "Snapchat-Proxy", "SnapchatAds",
    "YandexRenderResourcesBot", "bingbot", "slurp", "MicrosoftPreview", "Baiduspider",
    "HeadlessChrome",
  ];

  // document.currentScript is null once the script has run.
  const script = document.currentScript;
  const options = script.dataset;
  const endpoint = script.src.replace(/\.js([?#].*)?$/, "/events");

  if (window.Moengage?.initialised !== undefined) {
    console.error("The Web SDK's stand-in is on this page twice: load it once.");
    return;
  }

  // --- what the browser keeps ------------------------------------------------

  const MEMORY = "MOE_DATA";

  const readMemory = () => {
    try {
      return Object(JSON.parse(localStorage.getItem(MEMORY)));
    } catch {
      return {}; // Storage may be forbidden, or hold what somebody else wrote.
    }
  };

  const writeMemory = change => {
    try {
      localStorage.setItem(MEMORY, JSON.stringify({...readMemory(), ...change}));
    } catch {
      // Then it is known until the page is left.
    }
  };

  const clearMemory = () => {
    try {
      localStorage.removeItem(MEMORY);
    } catch {
      // There is none.
    }
  };

  const readCookie = name =>
    document.cookie.split("; ").find(one => one.startsWith(`${name}=`))
      ?.slice(name.length + 1);

  const writeCookie = (name, value, seconds) => {
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie =
      `${name}=${value}; path=/; max-age=${seconds}; samesite=lax${secure}`;
  };

  // crypto.randomUUID is missing where a page came over plain HTTP from another host.
  const mintUuid = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    const hex = Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };

  // --- the configuration -----------------------------------------------------

  // Old names still work, with a warning, since 2.71.00.
  const setting = (config, name, oldName) => {
    if (config[name] !== undefined || config[oldName] === undefined) return config[name];
    console.warn(`Web SDK: ${oldName} is an old name, it is ${name} now.`);
    return config[oldName];
  };

  const readConfig = config => {
    const appId = setting(config, "appId", "app_id");
    const test = config.env === "TEST" && appId && !appId.endsWith("_DEBUG");
    const bots = [...BOTS, ...setting(config, "botsList", "bots_list") ?? []];
    return {
      appId: test ? `${appId}_DEBUG` : appId,
      cookies: !setting(config, "disableCookies", "disable_cookies") &&
        options.disableCookies === undefined,
      disabled: Boolean(setting(config, "disableSdk", "disable_sdk")),
      talks: Boolean(setting(config, "logLevel", "debug_logs")),
      bots: options.bots === "off" ? [] : bots.map(bot => bot.toLowerCase()),
      delay: Number(options.delay ?? 20),
    };
  };

  const isBot = bots => {
    const agent = navigator.userAgent.toLowerCase();
    return bots.some(bot => agent.includes(bot));
  };

  // --- the SDK ---------------------------------------------------------------

  const tell = name =>
    window.dispatchEvent(new CustomEvent("MOE_LIFECYCLE", {detail: {name}}));

  const build = given => {
    const {appId, cookies, disabled, talks, bots, delay} = readConfig(given);
    const queue = [];
    let state = "off", uuid, user = {}, timer;

    const remember = (name, value) => {
      writeMemory({[name]: value});
      if (cookies) writeCookie(name, value, TWO_YEARS);
    };

    const recall = name => cookies && readCookie(name) || readMemory()[name];

    const isDisabled = () => (recall("moe_dis") ?? String(disabled)) === "true";

    // What comes before the initialisation waits for it, in its order. Where the SDK
    // does not run it is forgotten, and a promise is kept, so no login hangs.
    const soon = work => new Promise(done => {
      if (state === "running") done(work());
      else if (state === "starting") queue.push({work, done});
      else done();
    });

    // The id of the device is in a cookie and in the memory; either brings it back.
    const findUuid = () => {
      const known = [cookies && readCookie("moe_uuid"),
        readMemory().USER_DATA?.deviceUuid];
      uuid = known.find(one => UUID.test(one)) ?? mintUuid();
      user = readMemory().USER_DATA?.identity ?? {};
      keep();
    };

    const keep = () => {
      writeMemory({USER_DATA: {deviceUuid: uuid, identity: user}});
      if (cookies) writeCookie("moe_uuid", uuid, TWO_YEARS);
    };

    const start = () => {
      if (state !== "off" || !appId || isBot(bots) || isDisabled()) return;
      state = "starting";
      timer = setTimeout(() => {
        findUuid();
        tell("SETTINGS_FETCHED");
        tell("DEVICE_UUID");
        if (state === "off") return; // Who listened has switched it off.
        sdk.initialised = 1;
        // What listeners ask for comes after what waits: a login counts before them.
        tell("SDK_INITIALIZED");
        tell("SDK_INITIALIZATION_COMPLETED");
        if (state === "off") return;
        state = "running";
        queue.splice(0).forEach(({work, done}) => soon(work).then(done));
      }, delay);
    };

    const send = (action, attributes) => {
      if (recall("moe_dt_d") === "true") return;
      const body = JSON.stringify(
        {app_id: appId, device_uuid: uuid, user, action, attributes});
      if (talks) console.debug("Web SDK:", body);
      // As plain text it may go to another origin without asking there first.
      if (!navigator.sendBeacon?.(endpoint, body))
        fetch(endpoint, {method: "POST", body, keepalive: true, credentials: "omit"})
          .catch(() => {});
      tell("EVENT_TRACKED");
    };

    const track = (action, context, extra) => {
      let attributes = context;
      try {
        if (typeof context === "string") attributes = JSON.parse(context);
      } catch {
        attributes = null;
      }
      if (typeof attributes?.cid !== "string" || !attributes.cid) {
        console.error("Web SDK: this is no experience_context, it has no cid.");
        return;
      }
      const campaign_id = attributes.cid.split("_")[0];
      attributes = {...extra, ...attributes, campaign_id};
      soon(() => send(action, attributes));
    };

    const identify = ids => {
      const named = typeof ids === "object" ? Object.entries(ids ?? {}) : [["uid", ids]];
      const given = Object.fromEntries(named
        .filter(([, value]) => ["string", "number"].includes(typeof value) && value !== "")
        .map(([name, value]) => [name, String(value)]));
      if (!Object.keys(given).length)
        return Promise.reject(new Error("Web SDK: identifyUser needs an id."));
      return soon(() => {
        const other = given.uid !== undefined && given.uid !== user.uid;
        user = other ? given : {...user, ...given};
        keep();
      });
    };

    // The id of the device stays: it is the browser's, not the customer's.
    const logout = () => soon(() => {
      user = {};
      keep();
    });

    const switchOff = () => {
      clearTimeout(timer);
      state = "off";
      sdk.initialised = 0;
      uuid = undefined;
      user = {};
      queue.splice(0).forEach(({done}) => done());
      clearMemory();
      if (cookies) writeCookie("moe_uuid", "", 0);
      remember("moe_dis", "true");
    };

    const reports = {
      trackImpression: context => track(IMPRESSION, context),
      // The build of May 2024 loses extra after its start, against its documents.
      trackClick: (context, extra) => track(CLICK, context, extra),
    };

    const sdk = {
      initialised: 0,
      web_p: reports,
      personalize: {...reports},
      device: {getUuid: () => uuid},
      identifyUser: identify,
      add_unique_user_id: identify,
      logoutUser: logout,
      destroy_session: logout,
      disableSdk: switchOff,
      enableSdk: () => {
        remember("moe_dis", "false");
        start();
      },
      isSdkEnabled: () => !isDisabled(),
      // The real one writes these two cookies where subdomains share them.
      disableDataTracking: () => remember("moe_dt_d", "true"),
      enableDataTracking: () => remember("moe_dt_d", "false"),
    };

    if (!appId) console.error("Web SDK: appId is missing, nothing is reported.");
    start();
    return sdk;
  };

  // What the documented snippet's placeholders took down before this script was there.
  const drain = sdk => {
    for (const {f: path, a: given} of (window.moengage_q ?? []).splice(0)) {
      const [group, name] = path.includes(".") ? path.split(".") : [null, path];
      const called = group === null ? sdk[name] : sdk[group]?.[name];
      if (typeof called === "function") called(...given);
    }
  };

  // Moengage alone: the documents write MoEngage as well, but the real script makes no
  // such name, and a page that uses it should fail here, too.
  window.moe = (config = {}) => {
    if (window.Moengage?.initialised === undefined) {
      window.Moengage = build(config);
      drain(window.Moengage);
    }
    return window.Moengage;
  };

  if (options.appId) window.moe({appId: options.appId});
})();
