//! stub
use bytes::Bytes; use futures_util::Stream; use super::engine::*; use super::seed::*; use super::spec::*; use crate::config::EngineKind;
/// x
pub struct Docker;
impl Engine for Docker {
    fn kind(&self) -> EngineKind { EngineKind::Local }
    async fn observe(&self, _: &OrgId) -> Result<Vec<Observed>, EngineError> { s() }
    async fn volumes(&self, _: &OrgId) -> Result<Vec<ObservedVolume>, EngineError> { s() }
    async fn prepare(&self, _: &OrgId) -> Result<(), EngineError> { s() }
    async fn dismantle(&self, _: &OrgId) -> Result<(), EngineError> { s() }
    async fn create_volume(&self, _: &Spec, _: VolumeKind, _: &OperationId) -> Result<VolumeOutcome, EngineError> { s() }
    async fn create(&self, _: &Spec, _: &OperationId) -> Result<(), EngineError> { s() }
    async fn put_seed(&self, _: &WorkspaceId, _: Vec<u8>) -> Result<(), EngineError> { s() }
    async fn read_seed(&self, _: &WorkspaceId) -> Result<Manifest, EngineError> { s() }
    async fn start(&self, _: &Spec, _: Verified) -> Result<(), EngineError> { s() }
    async fn inspect(&self, _: &WorkspaceId) -> Result<Observed, EngineError> { s() }
    async fn last_lines(&self, _: &WorkspaceId, _: usize) -> Result<Vec<String>, EngineError> { s() }
    fn logs(&self, _: &WorkspaceId, _: Option<usize>, _: bool) -> impl Stream<Item = Result<Bytes, EngineError>> + Send { futures_util::stream::empty() }
    async fn stop(&self, _: &WorkspaceId) -> Result<(), EngineError> { s() }
    async fn remove(&self, _: &WorkspaceId) -> Result<(), EngineError> { s() }
    async fn remove_volume(&self, _: &WorkspaceId, _: VolumeKind) -> Result<(), EngineError> { s() }
}
fn s<T>() -> Result<T, EngineError> { Err(EngineError::Refused("stub".into())) }

impl Docker { /// x
 pub async fn connect(_: Option<&str>) -> Result<Self, EngineError> { s() } }
