// Tells MoEngage's Web SDK who logged in; before it listens, it takes that down.
const who = document.currentScript.dataset.customerId;

if (who) window.Moengage?.identifyUser(who);
