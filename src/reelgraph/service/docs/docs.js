// validatorUrl: Swagger UI would otherwise send the schema to an external validator.
// deepLinking: it would put a link inside each route's button, which screen readers cannot reach.
SwaggerUIBundle({ url: "/api/openapi.json", dom_id: "#docs", validatorUrl: null, deepLinking: false });
