//! Metadata of a plugin: from a manifest into a component and back, and from components of unknown origin.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use orghost_build::{Metadata, MetadataError};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

const PYPROJECT: &str = r#"
[project]
name = "team-csv"
version = "1.2.0"
description = "An org from a spreadsheet"
authors = [{ name = "Ada", email = "ada@example.org" }, { name = "Grace" }]
license = "Apache-2.0 OR MIT"
[project.urls]
Source = "https://example.org/team-csv"
"#;

#[test]
fn metadata_of_a_manifest_is_read_back_from_the_component() {
    let facts = Metadata::of_pyproject(PYPROJECT).unwrap();
    let component = facts.embed(COMPONENT).unwrap();
    assert_eq!(component, facts.embed(COMPONENT).unwrap());
    let read = Metadata::read(&component);
    assert_eq!(read, facts);
    assert_eq!(
        read.authors.as_deref(),
        Some("Ada <ada@example.org>, Grace")
    );
    assert_eq!(read.source.as_deref(), Some("https://example.org/team-csv"));
}

#[test]
fn package_json_may_have_its_short_forms() {
    let text = r#"{"name": "outline", "author": "Ada", "repository": {"url": "git+https://example.org/o.git"}}"#;
    let facts = Metadata::of_package_json(text).unwrap();
    assert_eq!(facts.authors.as_deref(), Some("Ada"));
    assert_eq!(facts.source.as_deref(), Some("https://example.org/o.git"));
    assert_eq!(facts.version, None);
}

#[test]
fn a_licence_that_is_not_an_spdx_expression_is_refused_with_its_field() {
    let text = PYPROJECT.replace("Apache-2.0 OR MIT", "do what you like");
    let error = Metadata::of_pyproject(&text)
        .unwrap()
        .embed(COMPONENT)
        .unwrap_err();
    assert!(
        matches!(
            error,
            MetadataError::Fact {
                field: "license",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn broken_metadata_and_that_of_inner_components_is_ignored() {
    let inner = Metadata::of_pyproject(PYPROJECT)
        .unwrap()
        .embed(COMPONENT)
        .unwrap();
    // A nested component, and sections that are not UTF-8 or too long.
    let mut bytes = COMPONENT.to_vec();
    let section = |bytes: &mut Vec<u8>, id: u8, data: &[u8]| {
        bytes.push(id);
        let mut left = data.len();
        while left >= 0x80 {
            bytes.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
        bytes.extend(data);
    };
    section(&mut bytes, 4, &inner);
    section(&mut bytes, 0, b"\x07version\xff\xfe");
    section(
        &mut bytes,
        0,
        &[b"\x0bdescription".as_slice(), &[b'x'; 5000]].concat(),
    );
    section(&mut bytes, 0, b"\x09producers\xff\xff\xff");
    assert_eq!(Metadata::read(&bytes), Metadata::default());
    assert_eq!(Metadata::read(b"no component"), Metadata::default());
}
