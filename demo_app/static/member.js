// Tells MoEngage's Web SDK who logged in, as soon as it listens.
const who = document.currentScript.dataset.customerId;

addEventListener("MOE_LIFECYCLE", (event) => {
  if (event.detail.name !== "SDK_INITIALIZED") return;
  if (who) Moengage.identifyUser(who);
});
