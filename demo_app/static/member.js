// Gives the customer's id to MoEngage's Web SDK; it queues the call until it is loaded.
const who = document.currentScript.dataset.customerId;

if (who) window.Moengage?.identifyUser(who);
