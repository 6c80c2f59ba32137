//! Completes the OpenAPI document with what all its operations share: authentication, the type of problem documents, and the
//! common error statuses.

use axum::http::Method;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder};

use crate::http::middleware::access::{RouteAccess, needed};

const PROBLEM: &str = "application/problem+json";

/// Completes the document that utoipa generates from the handlers.
pub fn complete(document: &mut OpenApi) {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token made with `orghost token new`. While no token was ever made, requests from the server's own machine need none."));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    document.security = Some(vec![SecurityRequirement::new("token", [""; 0])]);
    for (path, item) in &mut document.paths.paths {
        if needed(&Method::GET, path) == Some(RouteAccess::Open)
            && let Some(open) = &mut item.get
        {
            open.security = Some(Vec::new());
        }
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            complete_operation(operation);
        }
    }
}

fn complete_operation(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && let Some(content) = response.content.get("application/json")
            && is_problem(content)
        {
            let content = content.clone();
            response.content.clear();
            response.content.insert(PROBLEM.to_owned(), content);
        }
    }
    let has_body = operation.request_body.is_some();
    let has_parameters = operation.parameters.is_some();
    let common = [
        (
            has_body || has_parameters,
            "400",
            "The parameters or the body cannot be parsed",
        ),
        (
            true,
            "401",
            "The token is missing, unknown, expired or revoked",
        ),
        (
            true,
            "403",
            "The token's scope does not allow this, or the request comes from a page of another site",
        ),
        (
            true,
            "429",
            "Too many requests, large bodies or waiting plans; `Retry-After` says when to try again",
        ),
        (has_body, "413", "The body is too large"),
        (has_body, "415", "The body has the wrong `Content-Type`"),
        (has_body, "422", "The body does not match its schema"),
        (true, "500", "The host failed"),
        (
            true,
            "503",
            "The host is stopping, or its engine does not answer",
        ),
    ];
    let responses = &mut operation.responses.responses;
    for (_, status, description) in common.into_iter().filter(|(applies, ..)| *applies) {
        let problem = Content::new(Some(Ref::from_schema_name("ProblemDocument")));
        let response = ResponseBuilder::new().description(description);
        let response = response.content(PROBLEM, problem).build();
        let entry = responses.entry(status.to_owned());
        entry.or_insert(RefOr::T(response));
    }
}

fn is_problem(content: &RefOr<Content>) -> bool {
    let schemas = "#/components/schemas/";
    let RefOr::T(content) = content else {
        return false;
    };
    match &content.schema {
        Some(RefOr::Ref(to)) => matches!(
            to.ref_location.strip_prefix(schemas),
            Some("ProblemDocument" | "CompatProblem" | "CompatMissing")
        ),
        _ => false,
    }
}
